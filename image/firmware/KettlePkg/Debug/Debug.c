/** @file
  A failed assertion says which one it is on the first serial port, and halts. Nothing else is ever printed.

  Upstream has this only in debug builds, with all their messages. Its release builds go on after a failed assertion.
**/

#include <Base.h>
#include <Library/BaseLib.h>
#include <Library/DebugLib.h>
#include <Library/SerialLineLib.h>

/// Digits of the largest line number.
#define MAX_DIGITS  20

STATIC
VOID
WriteNumber (
  IN UINTN  Number
  )
{
  CHAR8  Digits[MAX_DIGITS + 1];
  UINTN  At;

  At         = MAX_DIGITS;
  Digits[At] = '\0';
  do {
    Digits[--At] = (CHAR8)('0' + Number % 10);
    Number      /= 10;
  } while (Number != 0);

  SerialWrite (&Digits[At]);
}

/**
  Names the file and the line of a failed assertion, and halts. FileName has no directories: it is __FILE_NAME__.

  The text of the condition is not there, because Kettle.dsc leaves it out.
**/
VOID
EFIAPI
DebugAssert (
  IN CONST CHAR8  *FileName,
  IN UINTN        LineNumber,
  IN CONST CHAR8  *Description
  )
{
  SerialWrite ("firmware: assertion failed in ");
  SerialWrite (FileName);
  SerialWrite (", line ");
  WriteNumber (LineNumber);
  SerialWrite ("\r\n");
  CpuDeadLoop ();
}

BOOLEAN
EFIAPI
DebugAssertEnabled (
  VOID
  )
{
  return TRUE;
}

// The rest of the interface does nothing.

VOID
EFIAPI
DebugPrint (
  IN UINTN        ErrorLevel,
  IN CONST CHAR8  *Format,
  ...
  )
{
}

VOID
EFIAPI
DebugVPrint (
  IN UINTN        ErrorLevel,
  IN CONST CHAR8  *Format,
  IN VA_LIST      VaListMarker
  )
{
}

VOID
EFIAPI
DebugBPrint (
  IN UINTN        ErrorLevel,
  IN CONST CHAR8  *Format,
  IN BASE_LIST    BaseListMarker
  )
{
}

BOOLEAN
EFIAPI
DebugPrintEnabled (
  VOID
  )
{
  return FALSE;
}

BOOLEAN
EFIAPI
DebugPrintLevelEnabled (
  IN CONST UINTN  ErrorLevel
  )
{
  return FALSE;
}

BOOLEAN
EFIAPI
DebugCodeEnabled (
  VOID
  )
{
  return FALSE;
}

BOOLEAN
EFIAPI
DebugClearMemoryEnabled (
  VOID
  )
{
  return FALSE;
}

VOID *
EFIAPI
DebugClearMemory (
  OUT VOID  *Buffer,
  IN UINTN  Length
  )
{
  return Buffer;
}
