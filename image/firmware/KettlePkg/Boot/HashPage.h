/** @file
  The table of hashes that the launch measured, and the comparison of what the host gives with it.

  Comes in: the measured table, and bytes of the host's. Goes out: nothing, or the reason why they are not the measured ones.
  It must never accept a table that names less or more than the kernel, the initrd and the command line, each once.
**/

#ifndef KETTLE_HASH_PAGE_H_
#define KETTLE_HASH_PAGE_H_

#include <Base.h>

#include "Sha256.h"

typedef enum {
  BlobKernel,
  BlobInitrd,
  BlobCommandLine,
  BlobCount
} BLOB_KIND;

/// The hash of each blob.
typedef struct {
  UINT8    Hash[BlobCount][SHA256_SIZE];
} MEASURED_HASHES;

/**
  Reads the measured table.

  @param[in]  Table   The area that the launch measured it in.
  @param[in]  Size    Bytes of that area.
  @param[out] Hashes  The three hashes. Undefined unless NULL is returned.

  @return NULL, or what is wrong, to be printed.
**/
CONST CHAR8 *
ReadMeasuredHashes (
  IN  CONST UINT8      *Table,
  IN  UINTN            Size,
  OUT MEASURED_HASHES  *Hashes
  );

/**
  Says whether bytes are the ones that were measured.
**/
BOOLEAN
IsMeasured (
  IN CONST MEASURED_HASHES  *Hashes,
  IN BLOB_KIND              Kind,
  IN CONST UINT8            *Data,
  IN UINTN                  Size
  );

/**
  Says whether a command line is what the kernel can be given byte by byte: printable ASCII, and one zero at the end.
**/
BOOLEAN
IsPlainCommandLine (
  IN CONST UINT8  *Data,
  IN UINTN        Size
  );

#endif
