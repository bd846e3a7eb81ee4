/** @file
  Starts the kernel by its EFI entry: the initrd through LoadFile2, so that no word has to be added to the command line.
**/

#include "Boot.h"

#include <Guid/LinuxEfiInitrdMedia.h>
#include <Guid/RtPropertiesTable.h>
#include <Protocol/DevicePath.h>
#include <Protocol/LoadedImage.h>
#include <Protocol/LoadFile2.h>
#include <Library/BaseMemoryLib.h>
#include <Library/SerialLineLib.h>
#include <Library/UefiBootServicesTableLib.h>

#pragma pack(1)
typedef struct {
  VENDOR_DEVICE_PATH          Vendor;
  EFI_DEVICE_PATH_PROTOCOL    End;
} MEDIA_PATH;
#pragma pack()

#define MEDIA_PATH_OF(Guid)                                                                                  \
  {                                                                                                          \
    {                                                                                                        \
      { MEDIA_DEVICE_PATH, MEDIA_VENDOR_DP, { sizeof (VENDOR_DEVICE_PATH), 0 } },                            \
      Guid                                                                                                   \
    },                                                                                                       \
    { END_DEVICE_PATH_TYPE, END_ENTIRE_DEVICE_PATH_SUBTYPE, { sizeof (EFI_DEVICE_PATH_PROTOCOL), 0 } }       \
  }

#define KERNEL_MEDIA_GUID \
  { 0x5c1d1f0b, 0x7a55, 0x4b0a, { 0x9d, 0x0c, 0x1c, 0x6f, 0x2e, 0x9f, 0x8a, 0x06 } }

STATIC MEDIA_PATH  mInitrdPath = MEDIA_PATH_OF (LINUX_EFI_INITRD_MEDIA_GUID);
STATIC MEDIA_PATH  mKernelPath = MEDIA_PATH_OF (KERNEL_MEDIA_GUID);

STATIC CONST BLOB  *mInitrd;

STATIC
EFI_STATUS
EFIAPI
LoadInitrd (
  IN     EFI_LOAD_FILE2_PROTOCOL   *This,
  IN     EFI_DEVICE_PATH_PROTOCOL  *FilePath,
  IN     BOOLEAN                   BootPolicy,
  IN OUT UINTN                     *BufferSize,
  OUT    VOID                      *Buffer OPTIONAL
  )
{
  UINTN  Room;

  if (BootPolicy) {
    return EFI_UNSUPPORTED;
  }

  Room        = *BufferSize;
  *BufferSize = mInitrd->Size;
  if (Buffer == NULL || Room < mInitrd->Size) {
    return EFI_BUFFER_TOO_SMALL;
  }

  CopyMem (Buffer, mInitrd->Data, mInitrd->Size);
  return EFI_SUCCESS;
}

STATIC EFI_LOAD_FILE2_PROTOCOL  mLoadInitrd = { LoadInitrd };

STATIC
VOID
OfferInitrd (
  IN CONST BLOB  *Initrd
  )
{
  EFI_HANDLE  Handle;
  EFI_STATUS  Status;

  Handle  = NULL;
  mInitrd = Initrd;
  Status  = gBS->InstallMultipleProtocolInterfaces (
                   &Handle,
                   &gEfiDevicePathProtocolGuid,
                   &mInitrdPath,
                   &gEfiLoadFile2ProtocolGuid,
                   &mLoadInitrd,
                   NULL
                   );
  if (EFI_ERROR (Status)) {
    Halt ("the initrd cannot be offered to the kernel", "");
  }
}

/**
  Tells the kernel that no runtime service is left after it has taken over.
**/
STATIC
VOID
InstallRuntimeProperties (
  VOID
  )
{
  EFI_RT_PROPERTIES_TABLE  *Table;
  EFI_STATUS               Status;

  Status = gBS->AllocatePool (EfiACPIReclaimMemory, sizeof *Table, (VOID **)&Table);
  if (!EFI_ERROR (Status)) {
    Table->Version                  = EFI_RT_PROPERTIES_TABLE_VERSION;
    Table->Length                   = sizeof *Table;
    Table->RuntimeServicesSupported = 0;
    Status                          = gBS->InstallConfigurationTable (&gEfiRtPropertiesTableGuid, Table);
  }

  if (EFI_ERROR (Status)) {
    Halt ("the table of runtime services cannot be installed", "");
  }
}

/**
  Sets the command line: the measured bytes, each as one character of two bytes, and nothing else.
**/
STATIC
VOID
SetCommandLine (
  IN OUT EFI_LOADED_IMAGE_PROTOCOL  *Image,
  IN     CONST BLOB                 *CommandLine
  )
{
  CHAR16      *Text;
  UINTN       Index;
  EFI_STATUS  Status;

  Status = gBS->AllocatePool (EfiBootServicesData, CommandLine->Size * sizeof *Text, (VOID **)&Text);
  if (EFI_ERROR (Status)) {
    Halt ("there is not enough memory for the ", BlobName (BlobCommandLine));
  }

  for (Index = 0; Index < CommandLine->Size; Index++) {
    Text[Index] = CommandLine->Data[Index];
  }

  Image->LoadOptions     = Text;
  Image->LoadOptionsSize = (UINT32)(CommandLine->Size * sizeof *Text);
}

VOID
StartKernel (
  IN CONST BLOB  *Kernel,
  IN CONST BLOB  *Initrd,
  IN CONST BLOB  *CommandLine
  )
{
  EFI_HANDLE                 Handle;
  EFI_LOADED_IMAGE_PROTOCOL  *Image;
  EFI_STATUS                 Status;

  OfferInitrd (Initrd);
  InstallRuntimeProperties ();
  Status = gBS->LoadImage (
                  FALSE,
                  gImageHandle,
                  (EFI_DEVICE_PATH_PROTOCOL *)&mKernelPath,
                  Kernel->Data,
                  Kernel->Size,
                  &Handle
                  );
  if (!EFI_ERROR (Status)) {
    Status = gBS->HandleProtocol (Handle, &gEfiLoadedImageProtocolGuid, (VOID **)&Image);
  }

  if (EFI_ERROR (Status)) {
    Halt ("the measured kernel is not a program that EFI can load", "");
  }

  SetCommandLine (Image, CommandLine);
  SerialWriteLine ("starts the measured kernel", "");
  gBS->StartImage (Handle, NULL, NULL);
  Halt ("the kernel returned", "");
}
