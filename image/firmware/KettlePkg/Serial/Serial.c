/** @file
  SerialLineLib.h says what this is for.
**/

#include <Library/IoLib.h>
#include <Library/SerialLineLib.h>

#define SERIAL_PORT  0x3F8

VOID
SerialWriteCharacter (
  IN CHAR8  Character
  )
{
  IoWrite8 (SERIAL_PORT, (UINT8)Character);
}

VOID
SerialWrite (
  IN CONST CHAR8  *Text
  )
{
  for ( ; *Text != '\0'; Text++) {
    SerialWriteCharacter (*Text);
  }
}

VOID
SerialWriteLine (
  IN CONST CHAR8  *Text,
  IN CONST CHAR8  *More
  )
{
  SerialWrite ("firmware: ");
  SerialWrite (Text);
  SerialWrite (More);
  SerialWrite ("\r\n");
}
