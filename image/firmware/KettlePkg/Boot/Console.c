/** @file
  The first serial port, as the console of the kernel's loader.
**/

#include "Boot.h"

#include <Protocol/SimpleTextOut.h>
#include <Library/SerialLineLib.h>

#define COLUMNS  80
#define ROWS     25

STATIC
EFI_STATUS
EFIAPI
Reset (
  IN EFI_SIMPLE_TEXT_OUTPUT_PROTOCOL  *This,
  IN BOOLEAN                          ExtendedVerification
  )
{
  return EFI_SUCCESS;
}

STATIC
EFI_STATUS
EFIAPI
OutputString (
  IN EFI_SIMPLE_TEXT_OUTPUT_PROTOCOL  *This,
  IN CHAR16                           *String
  )
{
  for ( ; *String != L'\0'; String++) {
    SerialWriteCharacter (*String < 0x7F ? (CHAR8)*String : '?');
  }

  return EFI_SUCCESS;
}

STATIC
EFI_STATUS
EFIAPI
TestString (
  IN EFI_SIMPLE_TEXT_OUTPUT_PROTOCOL  *This,
  IN CHAR16                           *String
  )
{
  return EFI_SUCCESS;
}

STATIC
EFI_STATUS
EFIAPI
QueryMode (
  IN  EFI_SIMPLE_TEXT_OUTPUT_PROTOCOL  *This,
  IN  UINTN                            ModeNumber,
  OUT UINTN                            *Columns,
  OUT UINTN                            *Rows
  )
{
  if (ModeNumber != 0) {
    return EFI_UNSUPPORTED;
  }

  *Columns = COLUMNS;
  *Rows    = ROWS;
  return EFI_SUCCESS;
}

STATIC
EFI_STATUS
EFIAPI
SetMode (
  IN EFI_SIMPLE_TEXT_OUTPUT_PROTOCOL  *This,
  IN UINTN                            ModeNumber
  )
{
  return ModeNumber == 0 ? EFI_SUCCESS : EFI_UNSUPPORTED;
}

STATIC
EFI_STATUS
EFIAPI
SetAttribute (
  IN EFI_SIMPLE_TEXT_OUTPUT_PROTOCOL  *This,
  IN UINTN                            Attribute
  )
{
  return EFI_SUCCESS;
}

STATIC
EFI_STATUS
EFIAPI
ClearScreen (
  IN EFI_SIMPLE_TEXT_OUTPUT_PROTOCOL  *This
  )
{
  return EFI_SUCCESS;
}

STATIC
EFI_STATUS
EFIAPI
SetCursorPosition (
  IN EFI_SIMPLE_TEXT_OUTPUT_PROTOCOL  *This,
  IN UINTN                            Column,
  IN UINTN                            Row
  )
{
  return EFI_UNSUPPORTED;
}

STATIC
EFI_STATUS
EFIAPI
EnableCursor (
  IN EFI_SIMPLE_TEXT_OUTPUT_PROTOCOL  *This,
  IN BOOLEAN                          Visible
  )
{
  return EFI_UNSUPPORTED;
}

/// One mode, the current one is 0.
STATIC EFI_SIMPLE_TEXT_OUTPUT_MODE  mMode = { 1, 0, 0, 0, 0, FALSE };

STATIC EFI_SIMPLE_TEXT_OUTPUT_PROTOCOL  mConsole = {
  Reset,
  OutputString,
  TestString,
  QueryMode,
  SetMode,
  SetAttribute,
  ClearScreen,
  SetCursorPosition,
  EnableCursor,
  &mMode
};

VOID
InstallConsole (
  IN OUT EFI_SYSTEM_TABLE  *SystemTable
  )
{
  SystemTable->ConOut = &mConsole;
  SystemTable->StdErr = &mConsole;
}
