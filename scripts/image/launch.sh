# shellcheck shell=bash disable=SC2034
# What a launch of the image is: what scripts/build-image publishes measurements for, and scripts/machine.sh gives to QEMU.

# Processors as QEMU names them, and the highest count of them, that reference values are published for.
readonly VCPU_TYPES=(EPYC-v4 EPYC-Milan EPYC-Genoa EPYC-Turin)
readonly MAX_VCPUS=255
# SMT allowed, the bit that must be one, no debugging, no migration.
readonly GUEST_POLICY=0x30000
# SNP active, and nothing else.
readonly GUEST_FEATURES=0x1
