/** @file
  Boots the one kernel, initrd and command line that the launch measured. There is no other way on, and no setting.

  fw_cfg ──> Blob.c ──> private memory ──> HashPage.c ──> Kernel.c ──> the kernel
                                               ^
                     the page of hashes, which the launch measured
**/

#include "Boot.h"

#include <Protocol/Bds.h>
#include <Library/BaseLib.h>
#include <Library/PcdLib.h>
#include <Library/QemuFwCfgLib.h>
#include <Library/SerialLineLib.h>
#include <Library/UefiBootServicesTableLib.h>

VOID
Halt (
  IN CONST CHAR8  *Text,
  IN CONST CHAR8  *More
  )
{
  SerialWriteLine (Text, More);
  for ( ; ;) {
    CpuDeadLoop ();
  }
}

STATIC
VOID
EFIAPI
DoNothing (
  IN EFI_EVENT  Event,
  IN VOID       *Context
  )
{
}

/**
  Ends the phase in which the core starts only what is in the firmware's own volume: it would put the kernel off otherwise.
**/
STATIC
VOID
SignalEndOfDxe (
  VOID
  )
{
  EFI_EVENT   Event;
  EFI_STATUS  Status;

  Status = gBS->CreateEventEx (
                  EVT_NOTIFY_SIGNAL,
                  TPL_CALLBACK,
                  DoNothing,
                  NULL,
                  &gEfiEndOfDxeEventGroupGuid,
                  &Event
                  );
  if (EFI_ERROR (Status) || EFI_ERROR (gBS->SignalEvent (Event))) {
    Halt ("the phase of drivers does not end", "");
  }
}

/**
  Takes all three blobs from the host, and halts unless each is the one that was measured.
**/
STATIC
VOID
FetchMeasured (
  OUT BLOB  Blobs[BlobCount]
  )
{
  MEASURED_HASHES  Hashes;
  CONST CHAR8      *Reason;
  BLOB_KIND        Kind;

  Reason = ReadMeasuredHashes (
             (CONST UINT8 *)(UINTN)FixedPcdGet32 (PcdQemuHashTableBase),
             FixedPcdGet32 (PcdQemuHashTableSize),
             &Hashes
             );
  if (Reason != NULL) {
    Halt (Reason, "");
  }

  for (Kind = BlobKernel; Kind < BlobCount; Kind++) {
    FetchBlob (Kind, &Blobs[Kind]);
    if (!IsMeasured (&Hashes, Kind, Blobs[Kind].Data, Blobs[Kind].Size)) {
      Halt ("this is not what was measured: ", BlobName (Kind));
    }
  }

  if (!IsPlainCommandLine (Blobs[BlobCommandLine].Data, Blobs[BlobCommandLine].Size)) {
    Halt ("the command line is not printable ASCII", "");
  }
}

STATIC
VOID
EFIAPI
Boot (
  IN EFI_BDS_ARCH_PROTOCOL  *This
  )
{
  STATIC BLOB  Blobs[BlobCount];

  InstallExceptionHandlers ();
  if (!QemuFwCfgIsAvailable ()) {
    Halt ("there is no fw_cfg device", "");
  }

  FetchMeasured (Blobs);
  InstallAcpiTables ();
  SignalEndOfDxe ();
  StartKernel (&Blobs[BlobKernel], &Blobs[BlobInitrd], &Blobs[BlobCommandLine]);
}

STATIC EFI_BDS_ARCH_PROTOCOL  mBds = { Boot };

EFI_STATUS
EFIAPI
BootEntry (
  IN EFI_HANDLE        ImageHandle,
  IN EFI_SYSTEM_TABLE  *SystemTable
  )
{
  EFI_HANDLE  Handle;

  Handle = NULL;
  InstallConsole (SystemTable);
  return gBS->InstallMultipleProtocolInterfaces (&Handle, &gEfiBdsArchProtocolGuid, &mBds, NULL);
}
