/** @file
  Gives the firmware's readers of host-controlled bytes many random inputs, most of them almost right, and compares what they accept with
  what another piece of code, written in another way, would accept.

    host_bytes random SEED ROUNDS   all readers; exits with 1 and a line at the first disagreement
    host_bytes sha256               reads pieces from the standard input (four bytes of length, little endian, then the bytes) and prints
                                    the digest of each

  Sanitizers end the process at a read or write out of bounds: every input is in an allocation of exactly its size.
**/

#include <Base.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "HashPage.h"
#include "MemoryMap.h"
#include "Sha256.h"

STATIC UINT64  mState;

/// xorshift64*, by Vigna. The seed must not be zero.
STATIC
UINT64
Random (
  VOID
  )
{
  mState ^= mState >> 12;
  mState ^= mState << 25;
  mState ^= mState >> 27;
  return mState * 0x2545F4914F6CDD1DULL;
}

STATIC
UINT64
Below (
  IN UINT64  Limit
  )
{
  return Random () % Limit;
}

STATIC
BOOLEAN
OneIn (
  IN UINT64  Count
  )
{
  return Below (Count) == 0;
}

STATIC
VOID
FillRandomly (
  OUT UINT8  *Buffer,
  IN  UINTN  Size
  )
{
  UINTN  Index;

  for (Index = 0; Index < Size; Index++) {
    Buffer[Index] = (UINT8)Random ();
  }
}

STATIC
VOID
Disagree (
  IN CONST CHAR8  *What
  )
{
  printf ("disagreement: %s\n", What);
  exit (1);
}

//
// A host with a device fw_cfg.
//

#define MAX_RANGES     40
#define MAX_FILES      300
#define MAX_BYTES      (4 + 256 * 64 + 32 * 20 + 4)
#define ITEM_OF_MAP    0x26
#define RANGE_SIZE     20
#define ENTRY_SIZE     64

typedef struct {
  UINT64    Base;
  UINT64    Length;
  UINT32    Type;
} RANGE;

typedef struct {
  UINT8     Signature[4];
  UINT32    Count;                  ///< The number of files that the directory says it has.
  UINTN     Files;                  ///< The number of files that it has.
  UINTN     MapAt;                  ///< Which of them is the map; Files if none is.
  UINT32    MapSize;                ///< The size that the directory says the map has.
  RANGE     Ranges[MAX_RANGES];
  UINTN     RangeCount;
} HOST;

STATIC HOST    mHost;
STATIC UINT8   mDirectory[4 + MAX_FILES * ENTRY_SIZE];
STATIC UINT8   mMap[MAX_RANGES * RANGE_SIZE];
STATIC UINT16  mItem;
STATIC UINTN   mOffset;
STATIC UINTN   mBytesRead;

STATIC
VOID
PutBigEndian (
  OUT UINT8   *Buffer,
  IN  UINTN   Size,
  IN  UINT64  Value
  )
{
  while (Size > 0) {
    Buffer[--Size] = (UINT8)Value;
    Value        >>= 8;
  }
}

STATIC
VOID
WriteHost (
  VOID
  )
{
  UINTN  Index;
  UINT8  *Entry;

  PutBigEndian (mDirectory, 4, mHost.Count);
  for (Index = 0; Index < mHost.Files; Index++) {
    Entry = mDirectory + 4 + Index * ENTRY_SIZE;
    FillRandomly (Entry, ENTRY_SIZE);
    if (OneIn (4)) {
      memcpy (Entry + 8, "etc/e820x", 10);
    } else if (OneIn (4)) {
      memcpy (Entry + 8, "etc/e82", 8);
    }

    if (Index == mHost.MapAt) {
      PutBigEndian (Entry, 4, mHost.MapSize);
      PutBigEndian (Entry + 4, 2, ITEM_OF_MAP);
      memcpy (Entry + 8, "etc/e820", 9);
    }
  }

  for (Index = 0; Index < mHost.RangeCount; Index++) {
    memcpy (mMap + Index * RANGE_SIZE, &mHost.Ranges[Index].Base, 8);
    memcpy (mMap + Index * RANGE_SIZE + 8, &mHost.Ranges[Index].Length, 8);
    memcpy (mMap + Index * RANGE_SIZE + 16, &mHost.Ranges[Index].Type, 4);
  }
}

VOID
FwCfgSelect (
  IN UINT16  Item
  )
{
  mItem   = Item;
  mOffset = 0;
}

/// Past the end of an item, a hostile host gives what it likes.
STATIC
UINT8
HostByte (
  IN CONST UINT8  *Item,
  IN UINTN        Size
  )
{
  return mOffset < Size ? Item[mOffset] : (UINT8)Random ();
}

VOID
FwCfgRead (
  IN  UINTN  Size,
  OUT VOID   *Buffer
  )
{
  UINT8  *Byte;

  mBytesRead += Size;
  if (mBytesRead > MAX_BYTES) {
    Disagree ("a map makes the firmware read without end");
  }

  for (Byte = Buffer; Size > 0; Size--, Byte++, mOffset++) {
    switch (mItem) {
      case 0x00:
        *Byte = HostByte (mHost.Signature, sizeof mHost.Signature);
        break;
      case 0x19:
        *Byte = HostByte (mDirectory, 4 + mHost.Files * ENTRY_SIZE);
        break;
      case ITEM_OF_MAP:
        *Byte = HostByte (mMap, mHost.RangeCount * RANGE_SIZE);
        break;
      default:
        *Byte = (UINT8)Random ();
        break;
    }
  }
}

//
// Maps of memory.
//

STATIC
UINT64
PickNumber (
  VOID
  )
{
  STATIC CONST UINT64  Interesting[] = {
    0,             1,               0xFFF,           0x1000,          0x200000,            0xFE00000,           0x10000000,
    0x10200000,    0x80000000,      0xB0000000,      0xC0000000,      0xC0200000,          0xFEE00000,          0xFFFFFFFF,
    0x100000000,   0x10000000000,   0x3FFFFFFFFFFF,  0x400000000000,  0x400000200000,      0x8000000000000000,  0xFFFFFFFFFFE00000,
    0xFFFFFFFFFFFFFFFF
  };
  UINT64               Number;

  Number = Interesting[Below (sizeof Interesting / sizeof Interesting[0])];
  switch (Below (6)) {
    case 0:
      return Number + Below (3);
    case 1:
      return Number - Below (3);
    case 2:
      return Random ();
    case 3:
      return Random () & ~0x1FFFFFULL;
    default:
      return Number;
  }
}

/// A host as QEMU would be: memory below 4 GiB, perhaps memory above, and ranges that are not memory.
STATIC
VOID
MakeHonestHost (
  VOID
  )
{
  UINTN  Index;

  memcpy (mHost.Signature, "QEMU", 4);
  mHost.Files      = 1 + Below (20);
  mHost.Count      = (UINT32)mHost.Files;
  mHost.MapAt      = Below (mHost.Files);
  mHost.RangeCount = 0;

  mHost.Ranges[mHost.RangeCount++] = (RANGE){ 0, (0x80 + Below (0x581)) << 21, 1 };
  if (OneIn (2)) {
    mHost.Ranges[mHost.RangeCount++] = (RANGE){ OneIn (4) ? BASE_1TB : BASE_4GB, (1 + Below (1 << 25)) << 21, 1 };
  }

  for (Index = Below (4); Index > 0; Index--) {
    mHost.Ranges[mHost.RangeCount++] = (RANGE){ Random (), Random (), (UINT32)(2 + Below (5)) };
  }

  // In any order.
  for (Index = mHost.RangeCount - 1; Index > 0; Index--) {
    UINTN  Other = Below (Index + 1);
    RANGE  Range = mHost.Ranges[Index];

    mHost.Ranges[Index] = mHost.Ranges[Other];
    mHost.Ranges[Other] = Range;
  }

  mHost.MapSize = (UINT32)(mHost.RangeCount * RANGE_SIZE);
}

/// Changes one thing.
STATIC
VOID
MakeDishonest (
  VOID
  )
{
  UINTN  Index = Below (mHost.RangeCount);

  switch (Below (10)) {
    case 0:
      mHost.Signature[Below (4)] ^= (UINT8)(1 << Below (8));
      break;
    case 1:
      mHost.Count = (UINT32)(OneIn (2) ? Random () : Below (mHost.Files + 1));
      break;
    case 2:
      mHost.MapAt = mHost.Files;
      break;
    case 3:
      mHost.MapSize = (UINT32)(OneIn (2) ? Random () : Below (mHost.MapSize + 64));
      break;
    case 4:
      mHost.Ranges[Index].Base = PickNumber ();
      break;
    case 5:
      mHost.Ranges[Index].Length = PickNumber ();
      break;
    case 6:
      mHost.Ranges[Index].Type = (UINT32)(OneIn (2) ? 1 : Random ());
      break;
    case 7:
      mHost.Files = MAX_FILES;
      mHost.Count = MAX_FILES;
      mHost.MapAt = Below (MAX_FILES);
      break;
    case 8:
      // One range twice, perhaps as another one that could be right.
      mHost.Ranges[mHost.RangeCount] = mHost.Ranges[Index];
      if (OneIn (2)) {
        mHost.Ranges[mHost.RangeCount].Length = 0x20000000;
      }

      mHost.RangeCount++;
      mHost.MapSize = (UINT32)(mHost.RangeCount * RANGE_SIZE);
      break;
    default:
      for (Index = mHost.RangeCount; Index < 30 + Below (5); Index++) {
        mHost.Ranges[Index] = (RANGE){ Random (), Random (), 2 };
      }

      mHost.RangeCount = Index;
      mHost.MapSize    = (UINT32)(Index * RANGE_SIZE);
      break;
  }
}

/**
  Says what the firmware has to accept, where that does not depend on bytes past the end of an item.

  @return 1 accept, 0 refuse, -1 either.
**/
STATIC
INTN
Expected (
  OUT MEMORY_MAP  *Map
  )
{
  UINTN  Index;
  UINTN  Low  = 0;
  UINTN  High = 0;

  memset (Map, 0, sizeof *Map);
  if (memcmp (mHost.Signature, "QEMU", 4) != 0) {
    return 0;
  }

  if (mHost.MapAt >= mHost.Count || mHost.MapAt >= 256 || mHost.MapAt == mHost.Files) {
    // Behind the files that are there, random bytes may say anything, but not that name.
    return 0;
  }

  if (mHost.MapSize % RANGE_SIZE != 0 || mHost.MapSize > 32 * RANGE_SIZE) {
    return 0;
  }

  for (Index = 0; Index < mHost.MapSize / RANGE_SIZE; Index++) {
    CONST RANGE  *Range = &mHost.Ranges[Index];

    if (Index >= mHost.RangeCount) {
      return -1;
    }

    if (Range->Type != 1) {
      continue;
    }

    if (Range->Length % 0x200000 != 0) {
      return 0;
    }

    if (Range->Base == 0) {
      if (Range->Length < 0x10000000 || Range->Length > 0xC0000000) {
        return 0;
      }

      Low++;
      Map->LowLength = Range->Length;
    } else if (Range->Base == 0x100000000 || Range->Base == 0x10000000000) {
      if (Range->Length == 0 || Range->Length > 0x400000000000) {
        return 0;
      }

      High++;
      Map->HighBase   = Range->Base;
      Map->HighLength = Range->Length;
    } else {
      return 0;
    }
  }

  return Low == 1 && High <= 1;
}

STATIC
BOOLEAN
TryMap (
  VOID
  )
{
  MEMORY_MAP  Map;
  MEMORY_MAP  Right;
  INTN        Verdict;
  BOOLEAN     Accepted;

  MakeHonestHost ();
  if (!OneIn (4)) {
    MakeDishonest ();
    if (OneIn (4)) {
      MakeDishonest ();
    }
  }

  WriteHost ();
  mBytesRead = 0;
  Verdict    = Expected (&Right);
  Accepted   = ReadMemoryMap (&Map) == NULL;
  if (Verdict == 0 && Accepted) {
    Disagree ("a map is accepted that no honest host has");
  }

  if (Verdict == 1 && !Accepted) {
    Disagree ("a map is refused that an honest host has");
  }

  if (Verdict == 1 && (Map.LowLength != Right.LowLength || Map.HighBase != Right.HighBase || Map.HighLength != Right.HighLength)) {
    Disagree ("the map is not the one that the host has");
  }

  return Accepted;
}

//
// Tables of hashes.
//

#define HASH_ENTRY_SIZE  50
#define HASH_TABLE_SIZE  (18 + 3 * HASH_ENTRY_SIZE)

STATIC CONST UINT8  mTableGuid[16] = {
  0x06, 0xd6, 0x38, 0x94, 0x22, 0x4f, 0xc9, 0x4c, 0xb4, 0x79, 0xa7, 0x93, 0xd4, 0x11, 0xfd, 0x21
};

/// Kernel, initrd, command line.
STATIC CONST UINT8  mEntryGuid[3][16] = {
  { 0x37, 0x94, 0xe7, 0x4d, 0xd2, 0xab, 0x7f, 0x42, 0xb8, 0x35, 0xd5, 0xb1, 0x72, 0xd2, 0x04, 0x5b },
  { 0x31, 0xf7, 0xba, 0x44, 0x2f, 0x3a, 0xd7, 0x4b, 0x9a, 0xf1, 0x41, 0xe2, 0x91, 0x69, 0x78, 0x1d },
  { 0xd8, 0x2d, 0xd0, 0x97, 0x20, 0xbd, 0x94, 0x4c, 0xaa, 0x78, 0xe7, 0x71, 0x4d, 0x36, 0xab, 0x2a }
};

STATIC CONST UINTN  mOrders[6][3] = {
  { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 }
};

STATIC
VOID
WriteTable (
  OUT UINT8        *Table,
  IN  CONST UINTN  *Order,
  IN  CONST UINT8  Hashes[3][SHA256_SIZE]
  )
{
  UINTN  Index;
  UINT8  *Entry;

  memcpy (Table, mTableGuid, 16);
  Table[16] = HASH_TABLE_SIZE;
  Table[17] = 0;
  for (Index = 0; Index < 3; Index++) {
    Entry = Table + 18 + Index * HASH_ENTRY_SIZE;
    memcpy (Entry, mEntryGuid[Order[Index]], 16);
    Entry[16] = HASH_ENTRY_SIZE;
    Entry[17] = 0;
    memcpy (Entry + 18, Hashes[Order[Index]], SHA256_SIZE);
  }
}

STATIC
VOID
DamageTable (
  IN OUT UINT8  *Table
  )
{
  UINT8  *Entry = Table + 18 + Below (3) * HASH_ENTRY_SIZE;
  UINT8  *Other = Table + 18 + Below (3) * HASH_ENTRY_SIZE;

  switch (Below (5)) {
    case 0:
      Table[Below (HASH_TABLE_SIZE)] ^= (UINT8)(1 << Below (8));
      break;
    case 1:
      memcpy (Entry, mEntryGuid[Below (3)], 16);
      break;
    case 2:
      memmove (Entry, Other, HASH_ENTRY_SIZE);
      break;
    case 3:
      // A fourth entry, or one less.
      Table[16] = (UINT8)(HASH_TABLE_SIZE + (OneIn (2) ? HASH_ENTRY_SIZE : -HASH_ENTRY_SIZE));
      break;
    default:
      Entry[16] = (UINT8)Random ();
      break;
  }
}

/// Whether the table is one of the six that can be written with the hashes that are in it.
STATIC
BOOLEAN
IsRightTable (
  IN  CONST UINT8  *Table,
  OUT UINT8        Hashes[3][SHA256_SIZE]
  )
{
  UINT8  Right[HASH_TABLE_SIZE];
  UINTN  Order;
  UINTN  Index;

  for (Order = 0; Order < 6; Order++) {
    for (Index = 0; Index < 3; Index++) {
      memcpy (Hashes[mOrders[Order][Index]], Table + 18 + Index * HASH_ENTRY_SIZE + 18, SHA256_SIZE);
    }

    WriteTable (Right, mOrders[Order], Hashes);
    if (memcmp (Right, Table, sizeof Right) == 0) {
      return TRUE;
    }
  }

  return FALSE;
}

STATIC
BOOLEAN
TryTable (
  VOID
  )
{
  UINT8            Whole[HASH_TABLE_SIZE];
  UINT8            Hashes[3][SHA256_SIZE];
  UINT8            *Area;
  UINTN            Size;
  MEASURED_HASHES  Read;
  BOOLEAN          Right;
  BOOLEAN          Accepted;

  FillRandomly (&Hashes[0][0], sizeof Hashes);
  WriteTable (Whole, mOrders[Below (6)], Hashes);
  if (!OneIn (4)) {
    DamageTable (Whole);
    if (OneIn (4)) {
      DamageTable (Whole);
    }
  }

  Size = OneIn (8) ? Below (HASH_TABLE_SIZE) : HASH_TABLE_SIZE + Below (32);
  Area = malloc (Size);
  FillRandomly (Area, Size);
  memcpy (Area, Whole, MIN (Size, HASH_TABLE_SIZE));
  Right    = Size >= HASH_TABLE_SIZE && IsRightTable (Whole, Hashes);
  Accepted = ReadMeasuredHashes (Area, Size, &Read) == NULL;
  free (Area);
  if (Right != Accepted) {
    Disagree (Accepted ? "a table is accepted that no launch measures" : "a table is refused that a launch measures");
  }

  if (Accepted && memcmp (Read.Hash, Hashes, sizeof Hashes) != 0) {
    Disagree ("a hash went to another blob");
  }

  return Accepted;
}

//
// Blobs and command lines.
//

STATIC
VOID
TryBlob (
  VOID
  )
{
  MEASURED_HASHES  Hashes;
  UINT8            *Data;
  UINTN            Size;
  BLOB_KIND        Kind;

  Size = 1 + Below (200);
  Kind = (BLOB_KIND)Below (BlobCount);
  Data = malloc (Size);
  FillRandomly (Data, Size);
  FillRandomly (&Hashes.Hash[0][0], sizeof Hashes.Hash);
  Sha256 (Data, Size, Hashes.Hash[Kind]);
  if (!IsMeasured (&Hashes, Kind, Data, Size)) {
    Disagree ("a measured blob is refused");
  }

  if (IsMeasured (&Hashes, (BLOB_KIND)((Kind + 1) % BlobCount), Data, Size) || IsMeasured (&Hashes, Kind, Data, Size - 1)) {
    Disagree ("a blob is accepted in place of another, or without its end");
  }

  Data[Below (Size)] ^= (UINT8)(1 << Below (8));
  if (IsMeasured (&Hashes, Kind, Data, Size)) {
    Disagree ("a changed blob is accepted");
  }

  free (Data);
}

STATIC
VOID
TryCommandLine (
  VOID
  )
{
  UINT8    *Line;
  UINTN    Size;
  UINTN    Index;
  BOOLEAN  Plain;

  Size = Below (100);
  Line = malloc (Size);
  for (Index = 0; Index < Size; Index++) {
    Line[Index] = (UINT8)(' ' + Below ('~' - ' ' + 1));
  }

  if (Size > 0 && !OneIn (8)) {
    Line[Size - 1] = 0;
  }

  if (Size > 0 && OneIn (2)) {
    Line[Below (Size)] = (UINT8)Random ();
  }

  Plain = Size > 0 && memchr (Line, 0, Size) == Line + Size - 1;
  for (Index = 0; Plain && Index + 1 < Size; Index++) {
    Plain = strchr (
              " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~",
              Line[Index]
              ) != NULL;
  }

  if (IsPlainCommandLine (Line, Size) != Plain) {
    Disagree (Plain ? "a command line of printable characters is refused" : "a command line with others is accepted");
  }

  free (Line);
}

STATIC
INTN
RunRandom (
  IN UINT64  Rounds
  )
{
  UINT64  Round;
  UINT64  Maps   = 0;
  UINT64  Tables = 0;

  for (Round = 0; Round < Rounds; Round++) {
    Maps   += TryMap ();
    Tables += TryTable ();
    TryBlob ();
    TryCommandLine ();
  }

  printf (
    "%llu rounds: %llu maps and %llu tables accepted\n",
    (unsigned long long)Rounds,
    (unsigned long long)Maps,
    (unsigned long long)Tables
    );
  // Most of them are refused, and many are not: otherwise the inputs are no test.
  return Maps > Rounds / 8 && Maps < Rounds && Tables > Rounds / 8 && Tables < Rounds ? 0 : 1;
}

STATIC
INTN
PrintDigests (
  VOID
  )
{
  UINT32  Size;
  UINT8   Digest[SHA256_SIZE];
  UINT8   *Data;
  UINTN   Index;

  while (fread (&Size, sizeof Size, 1, stdin) == 1) {
    Data = malloc (Size);
    if (Size != 0 && fread (Data, Size, 1, stdin) != 1) {
      return 1;
    }

    Sha256 (Data, Size, Digest);
    free (Data);
    for (Index = 0; Index < sizeof Digest; Index++) {
      printf ("%02x", Digest[Index]);
    }

    printf ("\n");
  }

  return 0;
}

int
main (
  int   Count,
  char  **Words
  )
{
  if (Count == 4 && strcmp (Words[1], "random") == 0) {
    mState = strtoull (Words[2], NULL, 0);
    return (int)RunRandom (strtoull (Words[3], NULL, 0));
  }

  if (Count == 2 && strcmp (Words[1], "sha256") == 0) {
    return (int)PrintDigests ();
  }

  fprintf (stderr, "usage: %s random SEED ROUNDS | sha256\n", Words[0]);
  return 2;
}
