/** @file
  What the first phases may learn from fw_cfg: how much memory there is. To them, no other item and no other file exists.

  Upstream's PlatformPei asks for a dozen files that change what it does. It gets "not found" for all of them, and the map of memory as
  MemoryMap.c accepted it, read once.
**/

#include <PiPei.h>
#include <IndustryStandard/E820.h>
#include <Library/BaseLib.h>
#include <Library/BaseMemoryLib.h>
#include <Library/IoLib.h>
#include <Library/PlatformInitLib.h>
#include <Library/QemuFwCfgLib.h>
#include <Library/SerialLineLib.h>

#include "MemoryMap.h"

/// Not a number of QEMU's: it selects the map that was accepted.
#define ITEM_ACCEPTED_MAP  0xFFF0
#define ITEM_NONE          0xFFFF

STATIC EFI_E820_ENTRY64  mMap[2];
STATIC UINTN             mMapSize;
STATIC UINTN             mOffset;
STATIC UINT16            mItem = ITEM_NONE;

VOID
FwCfgSelect (
  IN UINT16  Item
  )
{
  IoWrite16 (FW_CFG_IO_SELECTOR, Item);
}

VOID
FwCfgRead (
  IN  UINTN  Size,
  OUT VOID   *Buffer
  )
{
  IoReadFifo8 (FW_CFG_IO_DATA, Size, Buffer);
}

/**
  Reads the map once, or halts.
**/
STATIC
VOID
AcceptMap (
  VOID
  )
{
  MEMORY_MAP   Map;
  CONST CHAR8  *Reason;

  Reason = ReadMemoryMap (&Map);
  if (Reason != NULL) {
    SerialWriteLine (Reason, "");
    CpuDeadLoop ();
  }

  mMap[0].Length = Map.LowLength;
  mMap[0].Type   = EfiAcpiAddressRangeMemory;
  mMapSize       = sizeof mMap[0];
  if (Map.HighLength != 0) {
    mMap[1].BaseAddr = Map.HighBase;
    mMap[1].Length   = Map.HighLength;
    mMap[1].Type     = EfiAcpiAddressRangeMemory;
    mMapSize         = sizeof mMap;
  }
}

RETURN_STATUS
EFIAPI
QemuFwCfgFindFile (
  IN  CONST CHAR8           *Name,
  OUT FIRMWARE_CONFIG_ITEM  *Item,
  OUT UINTN                 *Size
  )
{
  if (AsciiStrCmp (Name, "etc/e820") != 0) {
    return RETURN_NOT_FOUND;
  }

  if (mMapSize == 0) {
    AcceptMap ();
  }

  *Item = (FIRMWARE_CONFIG_ITEM)ITEM_ACCEPTED_MAP;
  *Size = mMapSize;
  return RETURN_SUCCESS;
}

BOOLEAN
EFIAPI
QemuFwCfgIsAvailable (
  VOID
  )
{
  return TRUE;
}

VOID
EFIAPI
QemuFwCfgSelectItem (
  IN FIRMWARE_CONFIG_ITEM  Item
  )
{
  mItem   = (UINT16)Item;
  mOffset = 0;
}

#ifdef KETTLE_START_PROCESSORS

/**
  The number of processors, for upstream's start of them.
**/
STATIC
UINT16
ProcessorCount (
  VOID
  )
{
  UINT16  Count;

  FwCfgSelect (QemuFwCfgItemSmpCpuCount);
  FwCfgRead (sizeof Count, &Count);
  return Count;
}

#endif

VOID
EFIAPI
QemuFwCfgReadBytes (
  IN UINTN  Size,
  IN VOID   *Buffer OPTIONAL
  )
{
  ZeroMem (Buffer, Size);
  if (mItem == ITEM_ACCEPTED_MAP && mOffset <= mMapSize && Size <= mMapSize - mOffset) {
    CopyMem (Buffer, (UINT8 *)mMap + mOffset, Size);
    mOffset += Size;
  }

#ifdef KETTLE_START_PROCESSORS
  if (mItem == QemuFwCfgItemSmpCpuCount && Size == sizeof (UINT16)) {
    *(UINT16 *)Buffer = ProcessorCount ();
  }

#endif
}

VOID
EFIAPI
QemuFwCfgSkipBytes (
  IN UINTN  Size
  )
{
  mItem = ITEM_NONE;
}

VOID
EFIAPI
QemuFwCfgWriteBytes (
  IN UINTN  Size,
  IN VOID   *Buffer
  )
{
}

UINT8
EFIAPI
QemuFwCfgRead8 (
  VOID
  )
{
  UINT8  Value;

  QemuFwCfgReadBytes (sizeof Value, &Value);
  return Value;
}

UINT16
EFIAPI
QemuFwCfgRead16 (
  VOID
  )
{
  UINT16  Value;

  QemuFwCfgReadBytes (sizeof Value, &Value);
  return Value;
}

UINT32
EFIAPI
QemuFwCfgRead32 (
  VOID
  )
{
  UINT32  Value;

  QemuFwCfgReadBytes (sizeof Value, &Value);
  return Value;
}

UINT64
EFIAPI
QemuFwCfgRead64 (
  VOID
  )
{
  UINT64  Value;

  QemuFwCfgReadBytes (sizeof Value, &Value);
  return Value;
}

RETURN_STATUS
EFIAPI
QemuFwCfgInitCache (
  IN OUT EFI_HOB_PLATFORM_INFO  *PlatformInfoHob
  )
{
  return RETURN_SUCCESS;
}
