/** @file
  SHA-256: FIPS 180-4, sections 4.1.2, 4.2.2, 5.1.1, 5.3.3 and 6.2.2. Names are the standard's.

  It is also compiled natively: tests/firmware compares it with another implementation.
**/

#include "Sha256.h"

#include <Library/BaseMemoryLib.h>

#define BLOCK_SIZE   64
#define STATE_WORDS  8
#define ROUNDS       64
/// Bytes at the end of the last block that hold the length.
#define LENGTH_SIZE  8

#define ROTR(x, n)  (((x) >> (n)) | ((x) << (32 - (n))))

STATIC CONST UINT32  mK[ROUNDS] = {
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2
};

STATIC CONST UINT32  mInitial[STATE_WORDS] = {
  0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19
};

STATIC
UINT32
SmallSigma0 (
  IN UINT32  X
  )
{
  return ROTR (X, 7) ^ ROTR (X, 18) ^ (X >> 3);
}

STATIC
UINT32
SmallSigma1 (
  IN UINT32  X
  )
{
  return ROTR (X, 17) ^ ROTR (X, 19) ^ (X >> 10);
}

STATIC
UINT32
BigSigma0 (
  IN UINT32  X
  )
{
  return ROTR (X, 2) ^ ROTR (X, 13) ^ ROTR (X, 22);
}

STATIC
UINT32
BigSigma1 (
  IN UINT32  X
  )
{
  return ROTR (X, 6) ^ ROTR (X, 11) ^ ROTR (X, 25);
}

STATIC
UINT32
Choose (
  IN UINT32  X,
  IN UINT32  Y,
  IN UINT32  Z
  )
{
  return (X & Y) ^ (~X & Z);
}

STATIC
UINT32
Majority (
  IN UINT32  X,
  IN UINT32  Y,
  IN UINT32  Z
  )
{
  return (X & Y) ^ (X & Z) ^ (Y & Z);
}

STATIC
UINT32
ReadBigEndian (
  IN CONST UINT8  *Data
  )
{
  return (UINT32)Data[0] << 24 | (UINT32)Data[1] << 16 | (UINT32)Data[2] << 8 | Data[3];
}

/**
  Prepares the message schedule of a block.
**/
STATIC
VOID
Schedule (
  IN  CONST UINT8  *Block,
  OUT UINT32       W[ROUNDS]
  )
{
  UINTN  T;

  for (T = 0; T < BLOCK_SIZE / sizeof (UINT32); T++) {
    W[T] = ReadBigEndian (Block + T * sizeof (UINT32));
  }

  for ( ; T < ROUNDS; T++) {
    W[T] = SmallSigma1 (W[T - 2]) + W[T - 7] + SmallSigma0 (W[T - 15]) + W[T - 16];
  }
}

/**
  Adds one block to the state. S has the working variables a to h.
**/
STATIC
VOID
Compress (
  IN OUT UINT32       State[STATE_WORDS],
  IN     CONST UINT8  *Block
  )
{
  UINT32  W[ROUNDS];
  UINT32  S[STATE_WORDS];
  UINT32  T1;
  UINT32  T2;
  UINTN   T;

  Schedule (Block, W);
  CopyMem (S, State, sizeof S);
  for (T = 0; T < ROUNDS; T++) {
    T1 = S[7] + BigSigma1 (S[4]) + Choose (S[4], S[5], S[6]) + mK[T] + W[T];
    T2 = BigSigma0 (S[0]) + Majority (S[0], S[1], S[2]);
    S[7] = S[6];
    S[6] = S[5];
    S[5] = S[4];
    S[4] = S[3] + T1;
    S[3] = S[2];
    S[2] = S[1];
    S[1] = S[0];
    S[0] = T1 + T2;
  }

  for (T = 0; T < STATE_WORDS; T++) {
    State[T] += S[T];
  }
}

/**
  Adds what is left after the whole blocks, a one, zeros, and the length in bits: one block or two.
**/
STATIC
VOID
Finish (
  IN OUT UINT32       State[STATE_WORDS],
  IN     CONST UINT8  *Rest,
  IN     UINTN        RestSize,
  IN     UINT64       Bits
  )
{
  UINT8  Last[2 * BLOCK_SIZE];
  UINTN  Size;
  UINTN  Index;

  Size = RestSize < BLOCK_SIZE - LENGTH_SIZE ? BLOCK_SIZE : 2 * BLOCK_SIZE;
  ZeroMem (Last, sizeof Last);
  CopyMem (Last, Rest, RestSize);
  Last[RestSize] = 0x80;
  for (Index = 0; Index < LENGTH_SIZE; Index++) {
    Last[Size - 1 - Index] = (UINT8)(Bits >> (8 * Index));
  }

  for (Index = 0; Index < Size; Index += BLOCK_SIZE) {
    Compress (State, Last + Index);
  }
}

VOID
Sha256 (
  IN  CONST UINT8  *Data,
  IN  UINTN        Size,
  OUT UINT8        Digest[SHA256_SIZE]
  )
{
  UINT32  State[STATE_WORDS];
  UINTN   Whole;
  UINTN   Index;

  CopyMem (State, mInitial, sizeof State);
  Whole = Size - Size % BLOCK_SIZE;
  for (Index = 0; Index < Whole; Index += BLOCK_SIZE) {
    Compress (State, Data + Index);
  }

  Finish (State, Data + Whole, Size - Whole, (UINT64)Size * 8);
  for (Index = 0; Index < SHA256_SIZE; Index++) {
    Digest[Index] = (UINT8)(State[Index / 4] >> (24 - 8 * (Index % 4)));
  }
}
