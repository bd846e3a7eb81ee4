/** @file
  SHA-256, as FIPS 180-4 has it, of bytes that lie in one piece.
**/

#ifndef KETTLE_SHA256_H_
#define KETTLE_SHA256_H_

#include <Base.h>

#define SHA256_SIZE  32

/**
  Computes the digest of Size bytes.
**/
VOID
Sha256 (
  IN  CONST UINT8  *Data,
  IN  UINTN        Size,
  OUT UINT8        Digest[SHA256_SIZE]
  );

#endif
