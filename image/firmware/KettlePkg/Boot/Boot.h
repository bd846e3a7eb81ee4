/** @file
  What the parts of the boot driver share.
**/

#ifndef KETTLE_BOOT_H_
#define KETTLE_BOOT_H_

#include <PiDxe.h>

#include "Blob.h"

/**
  Writes a line to the serial port, and never returns.
**/
VOID
Halt (
  IN CONST CHAR8  *Text,
  IN CONST CHAR8  *More
  );

/**
  Lets the processor's exceptions write a line and halt, where nothing handles them.
**/
VOID
InstallExceptionHandlers (
  VOID
  );

/**
  Lets the kernel's own loader write to the serial port.
**/
VOID
InstallConsole (
  IN OUT EFI_SYSTEM_TABLE  *SystemTable
  );

/**
  Gives the kernel ACPI tables that depend on nothing but the number of processors.
**/
VOID
InstallAcpiTables (
  VOID
  );

/**
  Starts the kernel with its initrd and command line. All three have been verified. Never returns.
**/
VOID
StartKernel (
  IN CONST BLOB  *Kernel,
  IN CONST BLOB  *Initrd,
  IN CONST BLOB  *CommandLine
  );

#endif
