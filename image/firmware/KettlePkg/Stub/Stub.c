/** @file
  Everything that the DXE core insists on having, and that a guest of this kind does not need: variables, clock, capsules, counters,
  reset, timer, watchdog. Each says that it is not supported.

  None of it stays in memory for the kernel: this is a driver of the boot phase, so no memory is marked as code of runtime services, and
  when the kernel takes over, the table of runtime services is emptied. A kernel that calls one all the same stops.
**/

#include <PiDxe.h>
#include <Protocol/Metronome.h>
#include <Protocol/Runtime.h>
#include <Protocol/Timer.h>
#include <Protocol/WatchdogTimer.h>
#include <Library/BaseLib.h>
#include <Library/UefiBootServicesTableLib.h>
#include <Library/UefiRuntimeServicesTableLib.h>

//
// Runtime services, while there are any.
//

STATIC
EFI_STATUS
EFIAPI
GetTime (
  OUT EFI_TIME               *Time,
  OUT EFI_TIME_CAPABILITIES  *Capabilities OPTIONAL
  )
{
  return EFI_UNSUPPORTED;
}

STATIC
EFI_STATUS
EFIAPI
SetTime (
  IN EFI_TIME  *Time
  )
{
  return EFI_UNSUPPORTED;
}

STATIC
EFI_STATUS
EFIAPI
GetWakeupTime (
  OUT BOOLEAN   *Enabled,
  OUT BOOLEAN   *Pending,
  OUT EFI_TIME  *Time
  )
{
  return EFI_UNSUPPORTED;
}

STATIC
EFI_STATUS
EFIAPI
SetWakeupTime (
  IN BOOLEAN   Enable,
  IN EFI_TIME  *Time OPTIONAL
  )
{
  return EFI_UNSUPPORTED;
}

STATIC
EFI_STATUS
EFIAPI
GetVariable (
  IN     CHAR16    *Name,
  IN     EFI_GUID  *Vendor,
  OUT    UINT32    *Attributes OPTIONAL,
  IN OUT UINTN     *Size,
  OUT    VOID      *Data OPTIONAL
  )
{
  return EFI_NOT_FOUND;
}

STATIC
EFI_STATUS
EFIAPI
GetNextVariableName (
  IN OUT UINTN     *Size,
  IN OUT CHAR16    *Name,
  IN OUT EFI_GUID  *Vendor
  )
{
  return EFI_NOT_FOUND;
}

STATIC
EFI_STATUS
EFIAPI
SetVariable (
  IN CHAR16    *Name,
  IN EFI_GUID  *Vendor,
  IN UINT32    Attributes,
  IN UINTN     Size,
  IN VOID      *Data
  )
{
  return EFI_UNSUPPORTED;
}

STATIC
EFI_STATUS
EFIAPI
QueryVariableInfo (
  IN  UINT32  Attributes,
  OUT UINT64  *MaximumStorage,
  OUT UINT64  *RemainingStorage,
  OUT UINT64  *MaximumSize
  )
{
  return EFI_UNSUPPORTED;
}

STATIC
EFI_STATUS
EFIAPI
GetNextHighMonotonicCount (
  OUT UINT32  *HighCount
  )
{
  return EFI_UNSUPPORTED;
}

STATIC
EFI_STATUS
EFIAPI
UpdateCapsule (
  IN EFI_CAPSULE_HEADER    **Headers,
  IN UINTN                 Count,
  IN EFI_PHYSICAL_ADDRESS  ScatterGatherList OPTIONAL
  )
{
  return EFI_UNSUPPORTED;
}

STATIC
EFI_STATUS
EFIAPI
QueryCapsuleCapabilities (
  IN  EFI_CAPSULE_HEADER  **Headers,
  IN  UINTN               Count,
  OUT UINT64              *MaximumSize,
  OUT EFI_RESET_TYPE      *ResetType
  )
{
  return EFI_UNSUPPORTED;
}

STATIC
EFI_STATUS
EFIAPI
SetVirtualAddressMap (
  IN UINTN                  MapSize,
  IN UINTN                  DescriptorSize,
  IN UINT32                 DescriptorVersion,
  IN EFI_MEMORY_DESCRIPTOR  *Map
  )
{
  return EFI_UNSUPPORTED;
}

STATIC
EFI_STATUS
EFIAPI
ConvertPointer (
  IN     UINTN  Disposition,
  IN OUT VOID   **Address
  )
{
  return EFI_UNSUPPORTED;
}

/**
  Halts: a guest that resets itself starts again at the host's pleasure, and nothing here needs it.
**/
STATIC
VOID
EFIAPI
ResetSystem (
  IN EFI_RESET_TYPE  Type,
  IN EFI_STATUS      Status,
  IN UINTN           DataSize,
  IN VOID            *Data OPTIONAL
  )
{
  CpuDeadLoop ();
}

/**
  Takes all of the above away. The kernel has left boot services, and the memory of this driver is its own from here on.
**/
STATIC
VOID
EFIAPI
EmptyRuntimeServices (
  IN EFI_EVENT  Event,
  IN VOID       *Context
  )
{
  gRT->GetTime                   = NULL;
  gRT->SetTime                   = NULL;
  gRT->GetWakeupTime             = NULL;
  gRT->SetWakeupTime             = NULL;
  gRT->SetVirtualAddressMap      = NULL;
  gRT->ConvertPointer            = NULL;
  gRT->GetVariable               = NULL;
  gRT->GetNextVariableName       = NULL;
  gRT->SetVariable               = NULL;
  gRT->GetNextHighMonotonicCount = NULL;
  gRT->ResetSystem               = NULL;
  gRT->UpdateCapsule             = NULL;
  gRT->QueryCapsuleCapabilities  = NULL;
  gRT->QueryVariableInfo         = NULL;
}

STATIC
VOID
FillRuntimeServices (
  VOID
  )
{
  gRT->GetTime                   = GetTime;
  gRT->SetTime                   = SetTime;
  gRT->GetWakeupTime             = GetWakeupTime;
  gRT->SetWakeupTime             = SetWakeupTime;
  gRT->SetVirtualAddressMap      = SetVirtualAddressMap;
  gRT->ConvertPointer            = ConvertPointer;
  gRT->GetVariable               = GetVariable;
  gRT->GetNextVariableName       = GetNextVariableName;
  gRT->SetVariable               = SetVariable;
  gRT->GetNextHighMonotonicCount = GetNextHighMonotonicCount;
  gRT->ResetSystem               = ResetSystem;
  gRT->UpdateCapsule             = UpdateCapsule;
  gRT->QueryCapsuleCapabilities  = QueryCapsuleCapabilities;
  gRT->QueryVariableInfo         = QueryVariableInfo;
}

//
// Boot services that other drivers of upstream's would give.
//

STATIC
EFI_STATUS
EFIAPI
GetNextMonotonicCount (
  OUT UINT64  *Count
  )
{
  return EFI_UNSUPPORTED;
}

STATIC
EFI_STATUS
EFIAPI
ServiceCrc32 (
  IN  VOID    *Data,
  IN  UINTN   Size,
  OUT UINT32  *Crc
  )
{
  if (Data == NULL || Size == 0 || Crc == NULL) {
    return EFI_INVALID_PARAMETER;
  }

  *Crc = CalculateCrc32 (Data, Size);
  return EFI_SUCCESS;
}

//
// Protocols that the DXE core uses itself.
//

/// The core keeps its lists of runtime images and events here. Both stay empty.
STATIC EFI_RUNTIME_ARCH_PROTOCOL  mRuntime = {
  INITIALIZE_LIST_HEAD_VARIABLE (mRuntime.ImageHead),
  INITIALIZE_LIST_HEAD_VARIABLE (mRuntime.EventHead),
  sizeof (EFI_MEMORY_DESCRIPTOR),
  EFI_MEMORY_DESCRIPTOR_VERSION,
  0,
  NULL,
  NULL,
  FALSE,
  FALSE
};

STATIC
EFI_STATUS
EFIAPI
RegisterWatchdog (
  IN EFI_WATCHDOG_TIMER_ARCH_PROTOCOL  *This,
  IN EFI_WATCHDOG_TIMER_NOTIFY         Notify
  )
{
  return EFI_SUCCESS;
}

STATIC
EFI_STATUS
EFIAPI
SetWatchdogPeriod (
  IN EFI_WATCHDOG_TIMER_ARCH_PROTOCOL  *This,
  IN UINT64                            Period
  )
{
  return EFI_SUCCESS;
}

STATIC
EFI_STATUS
EFIAPI
GetWatchdogPeriod (
  IN  EFI_WATCHDOG_TIMER_ARCH_PROTOCOL  *This,
  OUT UINT64                            *Period
  )
{
  *Period = 0;
  return EFI_SUCCESS;
}

STATIC EFI_WATCHDOG_TIMER_ARCH_PROTOCOL  mWatchdog = {
  RegisterWatchdog,
  SetWatchdogPeriod,
  GetWatchdogPeriod
};

STATIC
EFI_STATUS
EFIAPI
WaitForTick (
  IN EFI_METRONOME_ARCH_PROTOCOL  *This,
  IN UINT32                       Ticks
  )
{
  for ( ; Ticks != 0; Ticks--) {
    CpuPause ();
  }

  return EFI_SUCCESS;
}

STATIC EFI_METRONOME_ARCH_PROTOCOL  mMetronome = { WaitForTick, 1 };

STATIC
EFI_STATUS
EFIAPI
RegisterTimer (
  IN EFI_TIMER_ARCH_PROTOCOL  *This,
  IN EFI_TIMER_NOTIFY         Notify
  )
{
  return EFI_SUCCESS;
}

STATIC
EFI_STATUS
EFIAPI
SetTimerPeriod (
  IN EFI_TIMER_ARCH_PROTOCOL  *This,
  IN UINT64                   Period
  )
{
  return EFI_SUCCESS;
}

STATIC
EFI_STATUS
EFIAPI
GetTimerPeriod (
  IN  EFI_TIMER_ARCH_PROTOCOL  *This,
  OUT UINT64                   *Period
  )
{
  *Period = 0;
  return EFI_SUCCESS;
}

STATIC
EFI_STATUS
EFIAPI
GenerateSoftInterrupt (
  IN EFI_TIMER_ARCH_PROTOCOL  *This
  )
{
  return EFI_UNSUPPORTED;
}

STATIC EFI_TIMER_ARCH_PROTOCOL  mTimer = {
  RegisterTimer,
  SetTimerPeriod,
  GetTimerPeriod,
  GenerateSoftInterrupt
};

EFI_STATUS
EFIAPI
StubEntry (
  IN EFI_HANDLE        ImageHandle,
  IN EFI_SYSTEM_TABLE  *SystemTable
  )
{
  EFI_STATUS  Status;
  EFI_EVENT   ExitBootServices;
  EFI_HANDLE  Handle;

  FillRuntimeServices ();
  gBS->GetNextMonotonicCount = GetNextMonotonicCount;
  gBS->CalculateCrc32        = ServiceCrc32;
  Status                     = gBS->CreateEventEx (
                                      EVT_NOTIFY_SIGNAL,
                                      TPL_CALLBACK,
                                      EmptyRuntimeServices,
                                      NULL,
                                      &gEfiEventExitBootServicesGuid,
                                      &ExitBootServices
                                      );
  if (EFI_ERROR (Status)) {
    return Status;
  }

  // A protocol without an interface says that the driver was there which fills in the services.
  Handle = NULL;
  return gBS->InstallMultipleProtocolInterfaces (
                &Handle,
                &gEfiCapsuleArchProtocolGuid,
                NULL,
                &gEfiMetronomeArchProtocolGuid,
                &mMetronome,
                &gEfiMonotonicCounterArchProtocolGuid,
                NULL,
                &gEfiRealTimeClockArchProtocolGuid,
                NULL,
                &gEfiResetArchProtocolGuid,
                NULL,
                &gEfiRuntimeArchProtocolGuid,
                &mRuntime,
                &gEfiTimerArchProtocolGuid,
                &mTimer,
                &gEfiVariableArchProtocolGuid,
                NULL,
                &gEfiVariableWriteArchProtocolGuid,
                NULL,
                &gEfiWatchdogTimerArchProtocolGuid,
                &mWatchdog,
                NULL
                );
}
