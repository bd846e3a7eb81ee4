/** @file
  A failed assertion says which one it is on the first serial port, and halts. Nothing else is ever printed.

  Upstream has this only in debug builds, with all their messages. Its release builds go on after a failed assertion.
**/

#include <Base.h>
#include <Library/BaseLib.h>
#include <Library/DebugLib.h>
#include <Library/IoLib.h>

#define SERIAL_PORT  0x3F8

/// Digits of the largest line number.
#define MAX_DIGITS  20

STATIC
VOID
Write (
  IN CONST CHAR8  *Text
  )
{
  for ( ; *Text != '\0'; Text++) {
    IoWrite8 (SERIAL_PORT, (UINT8)*Text);
  }
}

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

  Write (&Digits[At]);
}

/**
  Names the module and the line of a failed assertion, and halts.

  The name of the file and the text of the condition are left out: they would be a third of the ROM.
**/
VOID
EFIAPI
DebugAssert (
  IN CONST CHAR8  *FileName,
  IN UINTN        LineNumber,
  IN CONST CHAR8  *Description
  )
{
  Write ("firmware: assertion failed in ");
  Write (gEfiCallerBaseName);
  Write (", line ");
  WriteNumber (LineNumber);
  Write ("\r\n");
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
