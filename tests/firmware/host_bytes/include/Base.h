/** @file
  What the firmware's pure files take from edk2's <Base.h>, for a native compiler.
**/

#ifndef BASE_H_
#define BASE_H_

#include <stddef.h>
#include <stdint.h>

typedef uint8_t   UINT8;
typedef uint16_t  UINT16;
typedef uint32_t  UINT32;
typedef uint64_t  UINT64;
typedef size_t    UINTN;
typedef ptrdiff_t INTN;
typedef char      CHAR8;
typedef UINT8     BOOLEAN;
typedef void      VOID;

typedef struct {
  UINT32    Data1;
  UINT16    Data2;
  UINT16    Data3;
  UINT8     Data4[8];
} GUID;

#define TRUE    1
#define FALSE   0
#define STATIC  static
#define CONST   const
#define IN
#define OUT
#define OPTIONAL

#define MIN(a, b)  ((a) < (b) ? (a) : (b))

#define SIGNATURE_32(A, B, C, D)  ((UINT32)(A) | (UINT32)(B) << 8 | (UINT32)(C) << 16 | (UINT32)(D) << 24)

#define SIZE_2MB    0x00200000ULL
#define SIZE_256MB  0x10000000ULL
#define BASE_4GB    0x0000000100000000ULL
#define BASE_1TB    0x0000010000000000ULL

#endif
