/** @file
  Delays by the processor's own counter. No clock of the host's devices is read.

  The counter's frequency is not known and is taken to be the highest that a processor has, so a delay is at least as long as was asked
  for. Only the start of further processors waits for anything, and that is in no firmware that is published.
**/

#include <Base.h>
#include <Library/BaseLib.h>
#include <Library/TimerLib.h>

/// Ticks in a nanosecond, no less than any processor has.
#define TICKS_PER_NANOSECOND  6

UINTN
EFIAPI
NanoSecondDelay (
  IN UINTN  NanoSeconds
  )
{
  UINT64  Start;
  UINT64  Ticks;

  Start = AsmReadTsc ();
  Ticks = MultU64x32 (NanoSeconds, TICKS_PER_NANOSECOND);
  while (AsmReadTsc () - Start < Ticks) {
    CpuPause ();
  }

  return NanoSeconds;
}

UINTN
EFIAPI
MicroSecondDelay (
  IN UINTN  MicroSeconds
  )
{
  NanoSecondDelay (MicroSeconds * 1000);
  return MicroSeconds;
}

UINT64
EFIAPI
GetPerformanceCounter (
  VOID
  )
{
  return AsmReadTsc ();
}

UINT64
EFIAPI
GetPerformanceCounterProperties (
  OUT UINT64  *StartValue OPTIONAL,
  OUT UINT64  *EndValue   OPTIONAL
  )
{
  if (StartValue != NULL) {
    *StartValue = 0;
  }

  if (EndValue != NULL) {
    *EndValue = MAX_UINT64;
  }

  return TICKS_PER_NANOSECOND * 1000000000ULL;
}

UINT64
EFIAPI
GetTimeInNanoSecond (
  IN UINT64  Ticks
  )
{
  return DivU64x32 (Ticks, TICKS_PER_NANOSECOND);
}
