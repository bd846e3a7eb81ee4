#include <stddef.h>
#include <stdint.h>
#include <zlib.h>
#define ANSWER 42
struct answer { size_t size; uint8_t bytes[ANSWER]; };
