/** @file
  What the firmware's pure files take from edk2's <Library/BaseLib.h>.
**/

#ifndef BASE_LIB_H_
#define BASE_LIB_H_

#include <Base.h>

#define SwapBytes16(Value)  __builtin_bswap16 (Value)
#define SwapBytes32(Value)  __builtin_bswap32 (Value)

#endif
