/** @file
  Blob.h says what this is for.

  QEMU offers each blob in two ways. As a file, whole, since version 10; and as items with fixed numbers, as all versions do, where the
  kernel is in two pieces, the first of which QEMU changes unless the guest is confidential.
**/

#include "Blob.h"
#include "Boot.h"

#include <Library/QemuFwCfgLib.h>
#include <Library/UefiBootServicesTableLib.h>

#define MAX_PIECES  2

typedef struct {
  FIRMWARE_CONFIG_ITEM    Size;
  FIRMWARE_CONFIG_ITEM    Data;
} PIECE;

typedef struct {
  CONST CHAR8    *Name;
  CONST CHAR8    *File;
  UINTN          MaxSize;
  UINTN          Pieces;
  PIECE          Piece[MAX_PIECES];
} SOURCE;

STATIC CONST SOURCE  mSource[BlobCount] = {
  {
    "kernel", "etc/boot/kernel", SIZE_128MB, 2, {
      { QemuFwCfgItemKernelSetupSize, QemuFwCfgItemKernelSetupData },
      { QemuFwCfgItemKernelSize,      QemuFwCfgItemKernelData      }
    }
  },
  {
    "initrd", "etc/boot/initrd", SIZE_128MB, 1, {
      { QemuFwCfgItemInitrdSize, QemuFwCfgItemInitrdData }
    }
  },
  {
    "command line", "etc/boot/cmdline", SIZE_4KB, 1, {
      { QemuFwCfgItemCommandLineSize, QemuFwCfgItemCommandLineData }
    }
  }
};

CONST CHAR8 *
BlobName (
  IN BLOB_KIND  Kind
  )
{
  return mSource[Kind].Name;
}

/**
  Allocates memory for a blob of a size that the host says.
**/
STATIC
VOID
AllocateBlob (
  IN  CONST SOURCE  *Source,
  IN  UINTN         Size,
  OUT BLOB          *Blob
  )
{
  EFI_PHYSICAL_ADDRESS  Address;
  EFI_STATUS            Status;

  if (Size > Source->MaxSize) {
    Halt (Source->Name, " is too large");
  }

  // At least one page, so that a blob of no bytes has an address too.
  Status = gBS->AllocatePages (AllocateAnyPages, EfiBootServicesData, EFI_SIZE_TO_PAGES (Size) + 1, &Address);
  if (EFI_ERROR (Status)) {
    Halt ("there is not enough memory for the ", Source->Name);
  }

  Blob->Data = (UINT8 *)(UINTN)Address;
  Blob->Size = Size;
}

STATIC
VOID
FetchPieces (
  IN  CONST SOURCE  *Source,
  OUT BLOB          *Blob
  )
{
  UINT32  Size[MAX_PIECES];
  UINTN   Total;
  UINTN   Offset;
  UINTN   Index;

  Total = 0;
  for (Index = 0; Index < Source->Pieces; Index++) {
    QemuFwCfgSelectItem (Source->Piece[Index].Size);
    Size[Index] = QemuFwCfgRead32 ();
    Total      += Size[Index];
  }

  AllocateBlob (Source, Total, Blob);
  Offset = 0;
  for (Index = 0; Index < Source->Pieces; Index++) {
    QemuFwCfgSelectItem (Source->Piece[Index].Data);
    QemuFwCfgReadBytes (Size[Index], Blob->Data + Offset);
    Offset += Size[Index];
  }
}

VOID
FetchBlob (
  IN  BLOB_KIND  Kind,
  OUT BLOB       *Blob
  )
{
  CONST SOURCE          *Source;
  FIRMWARE_CONFIG_ITEM  Item;
  UINTN                 Size;

  Source = &mSource[Kind];
  if (RETURN_ERROR (QemuFwCfgFindFile (Source->File, &Item, &Size))) {
    FetchPieces (Source, Blob);
    return;
  }

  AllocateBlob (Source, Size, Blob);
  QemuFwCfgSelectItem (Item);
  QemuFwCfgReadBytes (Size, Blob->Data);
}
