/** @file
  MemoryMap.h says what this is for. It is also compiled natively: tests/firmware reads random maps with it.

  | offset in a file's entry of the directory | bytes | what                                         |
  |-------------------------------------------|-------|----------------------------------------------|
  | 0                                         | 4     | size of the file, big endian                 |
  | 4                                         | 2     | the item to select for it, big endian        |
  | 6                                         | 2     | not used                                     |
  | 8                                         | 56    | its name                                     |

  | offset in an entry of etc/e820 | bytes | what               |
  |--------------------------------|-------|--------------------|
  | 0                              | 8     | address            |
  | 8                              | 8     | length             |
  | 16                             | 4     | type; 1 is memory  |
**/

#include "MemoryMap.h"

#include <Library/BaseLib.h>
#include <Library/BaseMemoryLib.h>

#define ITEM_SIGNATURE  0x00
#define ITEM_DIRECTORY  0x19
#define SIGNATURE       SIGNATURE_32 ('Q', 'E', 'M', 'U')

/// QEMU has about 20 files, and about 5 ranges.
#define MAX_FILES   256
#define MAX_RANGES  32

#define TYPE_MEMORY  1

/// The firmware itself takes memory below 24 MiB, and PEI 64 MiB more.
#define MIN_LOW_LENGTH  SIZE_256MB
/// Devices begin here, at the latest.
#define MAX_LOW_LENGTH  0xC0000000ULL
/// No processor has more address bits for memory than 46 that page tables are built for.
#define MAX_HIGH_LENGTH  (1ULL << 46)
/// Pages are validated and mapped in pieces of this size.
#define GRANULE  SIZE_2MB

#pragma pack(1)
typedef struct {
  UINT32    Size;
  UINT16    Item;
  UINT16    Reserved;
  CHAR8     Name[56];
} DIRECTORY_ENTRY;

typedef struct {
  UINT64    Base;
  UINT64    Length;
  UINT32    Type;
} RANGE;
#pragma pack()

STATIC CONST CHAR8  mFileName[] = "etc/e820";

/**
  Finds the map in the directory of fw_cfg.

  @return FALSE if it is not among the first MAX_FILES entries.
**/
STATIC
BOOLEAN
FindMap (
  OUT DIRECTORY_ENTRY  *Entry
  )
{
  UINT32  Count;
  UINT32  Index;

  FwCfgSelect (ITEM_DIRECTORY);
  FwCfgRead (sizeof Count, &Count);
  Count = MIN (SwapBytes32 (Count), MAX_FILES);
  for (Index = 0; Index < Count; Index++) {
    FwCfgRead (sizeof *Entry, Entry);
    // The comparison includes the byte that ends the name.
    if (CompareMem (Entry->Name, mFileName, sizeof mFileName) == 0) {
      return TRUE;
    }
  }

  return FALSE;
}

STATIC
BOOLEAN
IsWhole (
  IN UINT64  Length
  )
{
  return Length != 0 && (Length & (GRANULE - 1)) == 0;
}

STATIC
BOOLEAN
IsLow (
  IN CONST RANGE  *Range
  )
{
  return Range->Base == 0 &&
         Range->Length >= MIN_LOW_LENGTH &&
         Range->Length <= MAX_LOW_LENGTH &&
         IsWhole (Range->Length);
}

STATIC
BOOLEAN
IsHigh (
  IN CONST RANGE  *Range
  )
{
  return (Range->Base == BASE_4GB || Range->Base == BASE_1TB) &&
         Range->Length <= MAX_HIGH_LENGTH &&
         IsWhole (Range->Length);
}

/**
  Adds a range of memory to the map.

  @return FALSE if it is not where memory may be, or if there is one already.
**/
STATIC
BOOLEAN
AddRange (
  IN     CONST RANGE  *Range,
  IN OUT MEMORY_MAP   *Map
  )
{
  if (IsLow (Range) && Map->LowLength == 0) {
    Map->LowLength = Range->Length;
    return TRUE;
  }

  if (IsHigh (Range) && Map->HighLength == 0) {
    Map->HighBase   = Range->Base;
    Map->HighLength = Range->Length;
    return TRUE;
  }

  return FALSE;
}

CONST CHAR8 *
ReadMemoryMap (
  OUT MEMORY_MAP  *Map
  )
{
  UINT32           Signature;
  DIRECTORY_ENTRY  File;
  RANGE            Range;
  UINT32           Size;
  UINT32           Offset;

  ZeroMem (Map, sizeof *Map);
  FwCfgSelect (ITEM_SIGNATURE);
  FwCfgRead (sizeof Signature, &Signature);
  if (Signature != SIGNATURE) {
    return "there is no fw_cfg device";
  }

  if (!FindMap (&File)) {
    return "fw_cfg has no map of memory";
  }

  Size = SwapBytes32 (File.Size);
  if (Size % sizeof Range != 0 || Size / sizeof Range > MAX_RANGES) {
    return "the map of memory has a size that no map has";
  }

  FwCfgSelect (SwapBytes16 (File.Item));
  for (Offset = 0; Offset < Size; Offset += sizeof Range) {
    FwCfgRead (sizeof Range, &Range);
    if (Range.Type == TYPE_MEMORY && !AddRange (&Range, Map)) {
      return "the map of memory has a range that cannot be: memory is whole multiples of 2 MiB, at least 256 MiB of it below 3 GiB";
    }
  }

  if (Map->LowLength == 0) {
    return "the map of memory has none below 3 GiB";
  }

  return NULL;
}
