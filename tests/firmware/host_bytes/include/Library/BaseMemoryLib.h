/** @file
  What the firmware's pure files take from edk2's <Library/BaseMemoryLib.h>.
**/

#ifndef BASE_MEMORY_LIB_H_
#define BASE_MEMORY_LIB_H_

#include <string.h>

#define CopyMem(To, From, Size)     memcpy (To, From, Size)
#define ZeroMem(Buffer, Size)       memset (Buffer, 0, Size)
#define CompareMem(One, Two, Size)  memcmp (One, Two, Size)

#endif
