/** @file
  Exceptions that nothing handles: a program that is read-only was written to, data was executed, a stack was written over.

  Upstream's handler would print all registers, to a host that is not to see them. This one says which exception it was. #VC is not
  among them: upstream handles it, in every confidential guest.
**/

#include "Boot.h"

#include <Protocol/Cpu.h>
#include <Library/UefiBootServicesTableLib.h>

/// What __stack_chk_fail raises: PcdStackCookieExceptionVector.
#define STACK_COOKIE_VECTOR  0x42

typedef struct {
  EFI_EXCEPTION_TYPE    Vector;
  CONST CHAR8           *Text;
} EXCEPTION;

STATIC CONST EXCEPTION  mException[] = {
  { EXCEPT_X64_DIVIDE_ERROR,   "a division by zero"                      },
  { EXCEPT_X64_INVALID_OPCODE, "an invalid instruction"                  },
  { EXCEPT_X64_STACK_FAULT,    "a stack fault"                           },
  { EXCEPT_X64_GP_FAULT,       "a general protection fault"              },
  { EXCEPT_X64_PAGE_FAULT,     "an access to memory that is not allowed" },
  { STACK_COOKIE_VECTOR,       "a stack that was written over"           }
};

STATIC
VOID
EFIAPI
HandleException (
  IN EFI_EXCEPTION_TYPE  Vector,
  IN EFI_SYSTEM_CONTEXT  Context
  )
{
  UINTN  Index;

  for (Index = 0; Index < ARRAY_SIZE (mException); Index++) {
    if (mException[Index].Vector == Vector) {
      Halt ("stopped by ", mException[Index].Text);
    }
  }

  Halt ("stopped by an exception", "");
}

VOID
InstallExceptionHandlers (
  VOID
  )
{
  EFI_CPU_ARCH_PROTOCOL  *Cpu;
  EFI_STATUS             Status;
  UINTN                  Index;

  Status = gBS->LocateProtocol (&gEfiCpuArchProtocolGuid, NULL, (VOID **)&Cpu);
  for (Index = 0; !EFI_ERROR (Status) && Index < ARRAY_SIZE (mException); Index++) {
    Status = Cpu->RegisterInterruptHandler (Cpu, mException[Index].Vector, HandleException);
  }

  if (EFI_ERROR (Status)) {
    Halt ("exceptions cannot be handled", "");
  }
}
