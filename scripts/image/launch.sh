# shellcheck shell=bash disable=SC2034
# The parameters of a launch of the image, for which scripts/build-image publishes measurements, and
# which scripts/machine.sh passes to QEMU.

# The types of processors, as QEMU names them, and their highest number, for which reference values
# are published.
readonly VCPU_TYPES=(EPYC-v4 EPYC-Milan EPYC-Genoa EPYC-Turin)
readonly MAX_VCPUS=255
# The guest policy: SMT allowed, the bit that must be one, no debugging, no migration.
readonly GUEST_POLICY=0x30000
# The guest features: SNP active, and nothing else.
readonly GUEST_FEATURES=0x1
