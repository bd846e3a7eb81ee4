/** @file
  The ACPI tables: RSDP, XSDT, FADT, MADT, and a DSDT without a program. All of it is constant but the number of processors, which fw_cfg
  says; the host's own tables and the script that would put them together are not read.

  A wrong number of processors makes the kernel wait for some that are not there, or leave some out.
**/

#include "Boot.h"

#include <Guid/Acpi.h>
#include <IndustryStandard/Acpi.h>
#include <Library/BaseLib.h>
#include <Library/BaseMemoryLib.h>
#include <Library/QemuFwCfgLib.h>
#include <Library/UefiBootServicesTableLib.h>

/// APIC ids of one byte: 0xFF means all processors.
#define MAX_PROCESSORS  255

#define LOCAL_APIC_ADDRESS  0xFEE00000
#define IO_APIC_ADDRESS     0xFEC00000

/// The timer's interrupt 0 arrives at input 2 of the I/O APIC.
#define TIMER_INPUT  2
/// The interrupt of ACPI, active high and by level.
#define ACPI_INTERRUPT        9
#define ACPI_INTERRUPT_FLAGS  0xD

/// Writing the value to the port resets the machine.
#define RESET_PORT   0xCF9
#define RESET_VALUE  0x0F

/// Longer than any state may take that is supported, as the specification wants it for states that are not.
#define NO_STATE_LATENCY  0xFFFF

/// Integers in the DSDT would have 64 bits.
#define DSDT_REVISION  2

#define OEM_ID        "KETTLE"
#define OEM_TABLE_ID  SIGNATURE_64 ('K', 'E', 'T', 'T', 'L', 'E', ' ', ' ')
#define CREATOR_ID    SIGNATURE_32 ('K', 'T', 'T', 'L')

#pragma pack(1)
typedef struct {
  EFI_ACPI_2_0_MULTIPLE_APIC_DESCRIPTION_TABLE_HEADER      Table;
  EFI_ACPI_2_0_IO_APIC_STRUCTURE                           IoApic;
  EFI_ACPI_2_0_INTERRUPT_SOURCE_OVERRIDE_STRUCTURE         Timer;
  EFI_ACPI_2_0_INTERRUPT_SOURCE_OVERRIDE_STRUCTURE         Acpi;
  EFI_ACPI_2_0_PROCESSOR_LOCAL_APIC_STRUCTURE              Processor[MAX_PROCESSORS];
} MADT;

typedef struct {
  EFI_ACPI_DESCRIPTION_HEADER    Table;
  UINT64                         Entry[2];
} XSDT;

/// All tables in one allocation. Each starts at a multiple of 8.
typedef struct {
  EFI_ACPI_2_0_ROOT_SYSTEM_DESCRIPTION_POINTER    Rsdp;
  UINT8                                           Padding1[4];
  XSDT                                            Xsdt;
  UINT8                                           Padding2[4];
  EFI_ACPI_3_0_FIXED_ACPI_DESCRIPTION_TABLE       Fadt;
  UINT8                                           Padding3[4];
  EFI_ACPI_DESCRIPTION_HEADER                     Dsdt;
  UINT8                                           Padding4[4];
  MADT                                            Madt;
} TABLES;
#pragma pack()

STATIC_ASSERT (OFFSET_OF (TABLES, Xsdt) % 8 == 0, "the XSDT is not aligned");
STATIC_ASSERT (OFFSET_OF (TABLES, Fadt) % 8 == 0, "the FADT is not aligned");
STATIC_ASSERT (OFFSET_OF (TABLES, Dsdt) % 8 == 0, "the DSDT is not aligned");
STATIC_ASSERT (OFFSET_OF (TABLES, Madt) % 8 == 0, "the MADT is not aligned");

STATIC
VOID
FillHeader (
  OUT EFI_ACPI_DESCRIPTION_HEADER  *Header,
  IN  UINT32                       Signature,
  IN  UINT32                       Length,
  IN  UINT8                        Revision
  )
{
  Header->Signature = Signature;
  Header->Length    = Length;
  Header->Revision  = Revision;
  CopyMem (Header->OemId, OEM_ID, sizeof Header->OemId);
  Header->OemTableId      = OEM_TABLE_ID;
  Header->OemRevision     = 1;
  Header->CreatorId       = CREATOR_ID;
  Header->CreatorRevision = 1;
}

/**
  Makes the sum of all bytes of a table zero. Nothing of it may change after that.
**/
STATIC
VOID
Seal (
  IN OUT EFI_ACPI_DESCRIPTION_HEADER  *Header
  )
{
  Header->Checksum = CalculateCheckSum8 ((CONST UINT8 *)Header, Header->Length);
}

STATIC
VOID
FillFadt (
  OUT EFI_ACPI_3_0_FIXED_ACPI_DESCRIPTION_TABLE  *Fadt,
  IN  CONST EFI_ACPI_DESCRIPTION_HEADER          *Dsdt
  )
{
  FillHeader (
    &Fadt->Header,
    EFI_ACPI_3_0_FIXED_ACPI_DESCRIPTION_TABLE_SIGNATURE,
    sizeof *Fadt,
    EFI_ACPI_2_0_FIXED_ACPI_DESCRIPTION_TABLE_REVISION
    );
  Fadt->Dsdt         = (UINT32)(UINTN)Dsdt;
  Fadt->XDsdt        = (UINT64)(UINTN)Dsdt;
  Fadt->SciInt       = ACPI_INTERRUPT;
  Fadt->PLvl2Lat     = NO_STATE_LATENCY;
  Fadt->PLvl3Lat     = NO_STATE_LATENCY;
  Fadt->IaPcBootArch = EFI_ACPI_2_0_LEGACY_DEVICES;
  Fadt->Flags        = EFI_ACPI_2_0_WBINVD | EFI_ACPI_2_0_PROC_C1 | EFI_ACPI_2_0_TMR_VAL_EXT | EFI_ACPI_2_0_RESET_REG_SUP;

  Fadt->ResetReg.AddressSpaceId   = EFI_ACPI_2_0_SYSTEM_IO;
  Fadt->ResetReg.RegisterBitWidth = 8;
  Fadt->ResetReg.Address          = RESET_PORT;
  Fadt->ResetValue                = RESET_VALUE;
  Seal (&Fadt->Header);
}

STATIC
VOID
FillOverride (
  OUT EFI_ACPI_2_0_INTERRUPT_SOURCE_OVERRIDE_STRUCTURE  *Override,
  IN  UINT8                                             Source,
  IN  UINT32                                            Input,
  IN  UINT16                                            Flags
  )
{
  Override->Type                  = EFI_ACPI_2_0_INTERRUPT_SOURCE_OVERRIDE;
  Override->Length                = sizeof *Override;
  Override->Source                = Source;
  Override->GlobalSystemInterrupt = Input;
  Override->Flags                 = Flags;
}

/**
  Describes the interrupt controllers. The APIC id of a processor is its number, as in every launch that has its measurement published.
**/
STATIC
VOID
FillMadt (
  OUT MADT   *Madt,
  IN  UINTN  Processors
  )
{
  UINTN  Index;

  FillHeader (
    &Madt->Table.Header,
    EFI_ACPI_2_0_MULTIPLE_APIC_DESCRIPTION_TABLE_SIGNATURE,
    (UINT32)(OFFSET_OF (MADT, Processor) + Processors * sizeof Madt->Processor[0]),
    EFI_ACPI_2_0_MULTIPLE_APIC_DESCRIPTION_TABLE_REVISION
    );
  Madt->Table.LocalApicAddress = LOCAL_APIC_ADDRESS;
  Madt->Table.Flags            = EFI_ACPI_2_0_PCAT_COMPAT;

  Madt->IoApic.Type          = EFI_ACPI_2_0_IO_APIC;
  Madt->IoApic.Length        = sizeof Madt->IoApic;
  Madt->IoApic.IoApicAddress = IO_APIC_ADDRESS;

  FillOverride (&Madt->Timer, 0, TIMER_INPUT, 0);
  FillOverride (&Madt->Acpi, ACPI_INTERRUPT, ACPI_INTERRUPT, ACPI_INTERRUPT_FLAGS);

  for (Index = 0; Index < Processors; Index++) {
    Madt->Processor[Index].Type            = EFI_ACPI_2_0_PROCESSOR_LOCAL_APIC;
    Madt->Processor[Index].Length          = sizeof Madt->Processor[Index];
    Madt->Processor[Index].AcpiProcessorId = (UINT8)Index;
    Madt->Processor[Index].ApicId          = (UINT8)Index;
    Madt->Processor[Index].Flags           = EFI_ACPI_2_0_LOCAL_APIC_ENABLED;
  }

  Seal (&Madt->Table.Header);
}

STATIC
VOID
FillXsdt (
  OUT XSDT        *Xsdt,
  IN  CONST VOID  *Fadt,
  IN  CONST VOID  *Madt
  )
{
  FillHeader (
    &Xsdt->Table,
    EFI_ACPI_2_0_EXTENDED_SYSTEM_DESCRIPTION_TABLE_SIGNATURE,
    sizeof *Xsdt,
    EFI_ACPI_2_0_EXTENDED_SYSTEM_DESCRIPTION_TABLE_REVISION
    );
  Xsdt->Entry[0] = (UINT64)(UINTN)Fadt;
  Xsdt->Entry[1] = (UINT64)(UINTN)Madt;
  Seal (&Xsdt->Table);
}

STATIC
VOID
FillRsdp (
  OUT EFI_ACPI_2_0_ROOT_SYSTEM_DESCRIPTION_POINTER  *Rsdp,
  IN  CONST XSDT                                    *Xsdt
  )
{
  Rsdp->Signature = EFI_ACPI_2_0_ROOT_SYSTEM_DESCRIPTION_POINTER_SIGNATURE;
  CopyMem (Rsdp->OemId, OEM_ID, sizeof Rsdp->OemId);
  Rsdp->Revision    = EFI_ACPI_2_0_ROOT_SYSTEM_DESCRIPTION_POINTER_REVISION;
  Rsdp->Length      = sizeof *Rsdp;
  Rsdp->XsdtAddress = (UINT64)(UINTN)Xsdt;
  // The first sum is that of what was there in version 1 of the specification.
  Rsdp->Checksum         = CalculateCheckSum8 ((CONST UINT8 *)Rsdp, OFFSET_OF (EFI_ACPI_2_0_ROOT_SYSTEM_DESCRIPTION_POINTER, Length));
  Rsdp->ExtendedChecksum = CalculateCheckSum8 ((CONST UINT8 *)Rsdp, sizeof *Rsdp);
}

/**
  Asks the host for the number of processors, and halts unless it is one that the MADT can have.
**/
STATIC
UINTN
CountProcessors (
  VOID
  )
{
  UINTN  Processors;

  QemuFwCfgSelectItem (QemuFwCfgItemSmpCpuCount);
  Processors = QemuFwCfgRead16 ();
  if (Processors == 0 || Processors > MAX_PROCESSORS) {
    Halt ("the number of processors is not 1 to 255", "");
  }

  return Processors;
}

/**
  Allocates zeroed memory below 4 GiB, because the FADT has an address of four bytes too.
**/
STATIC
TABLES *
AllocateTables (
  VOID
  )
{
  EFI_PHYSICAL_ADDRESS  Address;
  EFI_STATUS            Status;

  Address = BASE_4GB - 1;
  Status  = gBS->AllocatePages (AllocateMaxAddress, EfiACPIReclaimMemory, EFI_SIZE_TO_PAGES (sizeof (TABLES)), &Address);
  if (EFI_ERROR (Status)) {
    Halt ("there is not enough memory for ACPI tables", "");
  }

  ZeroMem ((VOID *)(UINTN)Address, EFI_PAGES_TO_SIZE (EFI_SIZE_TO_PAGES (sizeof (TABLES))));
  return (TABLES *)(UINTN)Address;
}

VOID
InstallAcpiTables (
  VOID
  )
{
  TABLES  *Tables;
  UINTN   Processors;

  Processors = CountProcessors ();
  Tables     = AllocateTables ();
  FillHeader (
    &Tables->Dsdt,
    EFI_ACPI_2_0_DIFFERENTIATED_SYSTEM_DESCRIPTION_TABLE_SIGNATURE,
    sizeof Tables->Dsdt,
    DSDT_REVISION
    );
  Seal (&Tables->Dsdt);
  FillFadt (&Tables->Fadt, &Tables->Dsdt);
  FillMadt (&Tables->Madt, Processors);
  FillXsdt (&Tables->Xsdt, &Tables->Fadt, &Tables->Madt);
  FillRsdp (&Tables->Rsdp, &Tables->Xsdt);
  if (EFI_ERROR (gBS->InstallConfigurationTable (&gEfiAcpi20TableGuid, &Tables->Rsdp))) {
    Halt ("ACPI tables cannot be installed", "");
  }
}
