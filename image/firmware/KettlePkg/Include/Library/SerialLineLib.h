/** @file
  The first serial port, for lines that people read. It is written to and never read, so the host has no say in how long that takes.
**/

#ifndef KETTLE_SERIAL_LINE_LIB_H_
#define KETTLE_SERIAL_LINE_LIB_H_

#include <Base.h>

/**
  Writes one character.
**/
VOID
SerialWriteCharacter (
  IN CHAR8  Character
  );

/**
  Writes text, as it is.
**/
VOID
SerialWrite (
  IN CONST CHAR8  *Text
  );

/**
  Writes a line that says that the firmware said it.
**/
VOID
SerialWriteLine (
  IN CONST CHAR8  *Text,
  IN CONST CHAR8  *More
  );

#endif
