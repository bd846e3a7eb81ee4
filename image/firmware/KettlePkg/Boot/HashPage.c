/** @file
  HashPage.h says what this is for. It is also compiled natively: tests/firmware gives it random tables.

  | offset in the table | bytes | what                                  |
  |---------------------|-------|---------------------------------------|
  | 0                   | 16    | GUID of the table                     |
  | 16                  | 2     | length of the table, this included    |
  | 18                  | 50    | an entry, three times, in any order   |

  | offset in an entry | bytes | what                                    |
  |--------------------|-------|-----------------------------------------|
  | 0                  | 16    | GUID of kernel, initrd or command line  |
  | 16                 | 2     | length of the entry, this included      |
  | 18                 | 32    | SHA-256                                 |

  QEMU writes it so in `struct SevHashTable` of target/i386/sev.c.
**/

#include "HashPage.h"

#include <Library/BaseMemoryLib.h>

#pragma pack(1)
typedef struct {
  GUID      Guid;
  UINT16    Length;
  UINT8     Hash[SHA256_SIZE];
} HASH_ENTRY;

typedef struct {
  GUID          Guid;
  UINT16        Length;
  HASH_ENTRY    Entry[BlobCount];
} HASH_TABLE;
#pragma pack()

STATIC CONST GUID  mTableGuid = {
  0x9438d606, 0x4f22, 0x4cc9, { 0xb4, 0x79, 0xa7, 0x93, 0xd4, 0x11, 0xfd, 0x21 }
};

STATIC CONST GUID  mEntryGuid[BlobCount] = {
  { 0x4de79437, 0xabd2, 0x427f, { 0xb8, 0x35, 0xd5, 0xb1, 0x72, 0xd2, 0x04, 0x5b }
  },
  { 0x44baf731, 0x3a2f, 0x4bd7, { 0x9a, 0xf1, 0x41, 0xe2, 0x91, 0x69, 0x78, 0x1d }
  },
  { 0x97d02dd8, 0xbd20, 0x4c94, { 0xaa, 0x78, 0xe7, 0x71, 0x4d, 0x36, 0xab, 0x2a }
  }
};

/**
  Finds out what an entry is for.

  @return The kind, or BlobCount if it is for something else.
**/
STATIC
BLOB_KIND
KindOf (
  IN CONST HASH_ENTRY  *Entry
  )
{
  BLOB_KIND  Kind;

  for (Kind = BlobKernel; Kind < BlobCount; Kind++) {
    if (CompareMem (&Entry->Guid, &mEntryGuid[Kind], sizeof Entry->Guid) == 0) {
      break;
    }
  }

  return Kind;
}

CONST CHAR8 *
ReadMeasuredHashes (
  IN  CONST UINT8      *Table,
  IN  UINTN            Size,
  OUT MEASURED_HASHES  *Hashes
  )
{
  HASH_TABLE        Copy;
  CONST HASH_ENTRY  *Entry;
  BOOLEAN           Found[BlobCount];
  BLOB_KIND         Kind;

  if (Size < sizeof Copy) {
    return "the area for measured hashes is too small";
  }

  CopyMem (&Copy, Table, sizeof Copy);
  if (CompareMem (&Copy.Guid, &mTableGuid, sizeof Copy.Guid) != 0) {
    return "there are no measured hashes: launch with kernel-hashes=on";
  }

  if (Copy.Length != sizeof Copy) {
    return "the table of measured hashes does not have three entries";
  }

  ZeroMem (Found, sizeof Found);
  for (Entry = Copy.Entry; Entry < Copy.Entry + BlobCount; Entry++) {
    Kind = KindOf (Entry);
    if (Kind == BlobCount || Entry->Length != sizeof *Entry || Found[Kind]) {
      return "the table of measured hashes does not have kernel, initrd and command line once each";
    }

    Found[Kind] = TRUE;
    CopyMem (Hashes->Hash[Kind], Entry->Hash, SHA256_SIZE);
  }

  return NULL;
}

BOOLEAN
IsMeasured (
  IN CONST MEASURED_HASHES  *Hashes,
  IN BLOB_KIND              Kind,
  IN CONST UINT8            *Data,
  IN UINTN                  Size
  )
{
  UINT8  Digest[SHA256_SIZE];

  Sha256 (Data, Size, Digest);
  return CompareMem (Digest, Hashes->Hash[Kind], SHA256_SIZE) == 0;
}

BOOLEAN
IsPlainCommandLine (
  IN CONST UINT8  *Data,
  IN UINTN        Size
  )
{
  UINTN  Index;

  if (Size == 0 || Data[Size - 1] != 0) {
    return FALSE;
  }

  for (Index = 0; Index < Size - 1; Index++) {
    if (Data[Index] < ' ' || Data[Index] > '~') {
      return FALSE;
    }
  }

  return TRUE;
}
