/* A kernel for tests: an EFI program that says that it runs, does one thing that a firmware with protected memory allows or forbids
   (PROBE), says that it is still there, and stops. It is a whole file, headers included, for `ld --oformat=binary`. */

        .intel_syntax noprefix

        .set SERIAL_PORT, 0x3f8
        .set PAGE, 0x1000

        /* Offsets in EFI_SYSTEM_TABLE and EFI_BOOT_SERVICES. */
        .set BOOT_SERVICES, 96
        .set RAISE_TPL, 24
        .set ALLOCATE_POOL, 64

        .set LOADER_CODE, 1
        .set LOADER_DATA, 2

        .text
image:
        .ascii "MZ"
        .skip 58
        .long signature - image

signature:
        .ascii "PE\0\0"
        .short 0x8664                   /* machine: x86-64 */
        .short 3                        /* sections */
        .long 0, 0, 0                   /* no time, no symbols */
        .short section_table - optional_header
        .short 0x22                     /* executable, any address */

optional_header:
        .short 0x20b                    /* PE32+ */
        .byte 0, 0
        .long PAGE, 2 * PAGE, 0         /* sizes of code and data */
        .long code - image              /* entry */
        .long code - image
        .quad 0                         /* address: any */
        .long PAGE, PAGE                /* sections are whole pages, in the file too */
        .short 0, 0, 0, 0, 0, 0
        .long 0
        .long end - image
        .long PAGE                      /* size of the headers */
        .long 0
        .short 10, 0x100                /* an EFI application, whose data need not be executable */
        .quad 0, 0, 0, 0
        .long 0
        .long 6                         /* directories, of which there is one: */
        .skip 5 * 8
        .long relocations - image, relocations_end - relocations

section_table:
        .ascii ".text\0\0\0"
        .long PAGE, code - image, PAGE, code - image, 0, 0, 0
        .long 0x60000020                /* code: executable, readable */
        .ascii ".data\0\0\0"
        .long PAGE, data - image, PAGE, data - image, 0, 0, 0
        .long 0xc0000040                /* data: readable, writable */
        .ascii ".reloc\0\0"
        .long PAGE, relocations - image, PAGE, relocations - image, 0, 0, 0
        .long 0x42000040                /* data: readable, not needed later */

        .balign PAGE
code:
        push rbp
        push rbx
        sub rsp, 0x48
        mov rbx, [rdx + BOOT_SERVICES]
        lea rsi, [rip + started]
        call print

#if PROBE == WRITE_DATA
        mov byte ptr [rip + data], 0
#elif PROBE == WRITE_CODE
        mov byte ptr [rip + print], 0x66
#elif PROBE == EXECUTE_DATA
        lea rax, [rip + data]
        call rax
#elif PROBE == EXECUTE_STACK
        lea rax, [rsp + 0x38]
        mov byte ptr [rax], 0xc3
        call rax
#elif PROBE == WRITE_FIRMWARE
        mov rax, [rbx + RAISE_TPL]
        mov cl, [rax]
        mov [rax], cl
#elif PROBE == EXECUTE_LOADER_CODE || PROBE == EXECUTE_LOADER_DATA
# if PROBE == EXECUTE_LOADER_CODE
        mov ecx, LOADER_CODE
# else
        mov ecx, LOADER_DATA
# endif
        mov edx, 16
        lea r8, [rsp + 0x38]
        call [rbx + ALLOCATE_POOL]
        mov rax, [rsp + 0x38]
        mov byte ptr [rax], 0xc3
        call rax
#elif PROBE == RETURN
        add rsp, 0x48
        pop rbx
        pop rbp
        xor eax, eax
        ret
#elif PROBE != NOTHING
# error "unknown probe"
#endif

        lea rsi, [rip + still_there]
        call print
stop:
        cli
        hlt
        jmp stop

print:
        mov edx, SERIAL_PORT
        lodsb
        test al, al
        jz printed
        out dx, al
        jmp print
printed:
        ret

started:
        .asciz "payload: started\r\n"
still_there:
        .asciz "payload: still there\r\n"

        .balign PAGE
data:
        ret                             /* what EXECUTE_DATA calls */
        .balign PAGE
relocations:
        .long code - image, 12          /* one block, of two entries that do nothing */
        .short 0, 0
relocations_end:
        .balign PAGE
end:
