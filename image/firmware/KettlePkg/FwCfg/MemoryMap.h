/** @file
  The map of memory that QEMU offers in the file etc/e820 of fw_cfg, accepted only if it has one of the few shapes that QEMU gives it.

  Comes in: bytes of the host's, by the two functions at the end. Goes out: one or two ranges of memory, or the reason why not.
  It must never keep a range that overlaps the firmware, the devices below 4 GiB, or the other range.
**/

#ifndef KETTLE_MEMORY_MAP_H_
#define KETTLE_MEMORY_MAP_H_

#include <Base.h>

/// The two ranges, as the file has them. A length of 0 means that there is none.
typedef struct {
  UINT64    LowLength;    ///< Memory from address 0 on.
  UINT64    HighBase;
  UINT64    HighLength;   ///< Memory from 4 GiB on, or from 1 TiB on where a processor keeps the range before it for itself.
} MEMORY_MAP;

/**
  Reads the map.

  @param[out] Map   The ranges. Undefined unless NULL is returned.

  @return NULL, or what is wrong, to be printed.
**/
CONST CHAR8 *
ReadMemoryMap (
  OUT MEMORY_MAP  *Map
  );

/**
  Selects an item of fw_cfg, which is read from its start then.
**/
VOID
FwCfgSelect (
  IN UINT16  Item
  );

/**
  Reads the next bytes of the selected item. Past its end, QEMU returns zeros, and another host whatever it likes.
**/
VOID
FwCfgRead (
  IN  UINTN  Size,
  OUT VOID   *Buffer
  );

#endif
