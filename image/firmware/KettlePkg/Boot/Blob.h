/** @file
  Kernel, initrd and command line, taken from the host into private memory.
**/

#ifndef KETTLE_BLOB_H_
#define KETTLE_BLOB_H_

#include <Base.h>

#include "HashPage.h"

typedef struct {
  UINT8    *Data;
  UINTN    Size;
} BLOB;

/**
  What the blob is called where people read it.
**/
CONST CHAR8 *
BlobName (
  IN BLOB_KIND  Kind
  );

/**
  Copies a blob from fw_cfg. Halts if it is larger than any that would be measured, or if there is no memory for it.

  Nothing is known of the bytes yet: IsMeasured has to be asked.
**/
VOID
FetchBlob (
  IN  BLOB_KIND  Kind,
  OUT BLOB       *Blob
  );

#endif
