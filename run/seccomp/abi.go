package seccomp

import (
	"fmt"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// abi is one way into the kernel. A processor can be asked through several, each with numbers of
// its own, and a filter that knows only one of them is no filter.
type abi struct {
	arch   specs.Arch
	audit  uint32 // seccomp_data.arch
	column int    // in syscallTable
	base   uint32 // added to the numbers of the table
	last   uint32 // the highest number a call can have
	// Arguments have 64 bits. Of others only the lower half counts, as for libseccomp: a -1 is
	// 0xffffffff there.
	wide bool
}

// x32 calls say they are x86_64's and have this bit in the call's number, asm/unistd.h.
const x32Bit = 0x40000000

// armPrivate is where arm's private calls begin, __ARM_NR_BASE. The kernel gives new calls
// numbers below, so that "above the highest" is meant below it, too. (For runc it is above
// set_tls, and so new calls get EPERM.)
const armPrivate = 0xf0000

// The columns are those of testdata/gen.
var abis = [...]abi{
	{arch: specs.ArchX86_64, audit: unix.AUDIT_ARCH_X86_64, column: 0, last: x32Bit - 1, wide: true},
	{arch: specs.ArchX86, audit: unix.AUDIT_ARCH_I386, column: 1, last: 1<<32 - 1},
	{arch: specs.ArchX32, audit: unix.AUDIT_ARCH_X86_64, column: 2, base: x32Bit, last: 1<<32 - 1},
	{arch: specs.ArchAARCH64, audit: unix.AUDIT_ARCH_AARCH64, column: 3, last: 1<<32 - 1, wide: true},
	{arch: specs.ArchARM, audit: unix.AUDIT_ARCH_ARM, column: 4, last: 1<<32 - 1},
}

// reachable are the ABIs by which a process can call a kernel, its own first.
func reachable(goarch string) []specs.Arch {
	switch goarch {
	case "amd64":
		return []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32}
	case "arm64":
		return []specs.Arch{specs.ArchAARCH64, specs.ArchARM}
	}
	return nil
}

// known are the other names of architectures that a profile may list. Our kernel can't be called
// by them, so that they change nothing.
var known = []specs.Arch{
	specs.ArchMIPS, specs.ArchMIPS64, specs.ArchMIPS64N32, specs.ArchMIPSEL, specs.ArchMIPSEL64, specs.ArchMIPSEL64N32,
	specs.ArchPPC, specs.ArchPPC64, specs.ArchPPC64LE, specs.ArchS390, specs.ArchS390X, specs.ArchPARISC, specs.ArchPARISC64,
	specs.ArchRISCV64, specs.ArchLOONGARCH64, specs.ArchM68K, specs.ArchSH, specs.ArchSHEB,
}

func findABI(a specs.Arch) *abi {
	for i := range abis {
		if abis[i].arch == a {
			return &abis[i]
		}
	}
	return nil
}

func checkArch(a specs.Arch) error {
	if findABI(a) == nil && !slices.Contains(known, a) {
		return fmt.Errorf("architecture %q: unknown", a)
	}
	return nil
}

// listed gives the ABIs that a profile covers, the kernel's own first.
func listed(goarch string, archs []specs.Arch) ([]*abi, error) {
	can := reachable(goarch)
	if can == nil {
		return nil, fmt.Errorf("no table of system calls for %s", goarch)
	}
	all := []*abi{findABI(can[0])}
	for _, a := range archs {
		if err := checkArch(a); err != nil {
			return nil, err
		}
		if b := findABI(a); slices.Contains(can, a) && !slices.Contains(all, b) {
			all = append(all, b)
		}
	}
	return all, nil
}

// syscallEntry is a line of the table: a name and its number for each ABI, -1 for none.
type syscallEntry struct {
	name string
	nr   [len(abis)]int32
}

func lookup(name string) (*syscallEntry, bool) {
	i, ok := slices.BinarySearchFunc(syscallTable[:], name, func(e syscallEntry, name string) int { return strings.Compare(e.name, name) })
	if !ok {
		return nil, false
	}
	return &syscallTable[i], true
}

// muxCall is a call of i386 that also goes through socketcall(2) or ipc(2), its number there the
// first argument. A filter which forgets these can be walked around.
type muxCall struct {
	name string
	via  string
	nr   uint32
}

// The numbers are those of linux/net.h and linux/ipc.h.
var muxCalls = []muxCall{
	{"accept", "socketcall", 5}, {"accept4", "socketcall", 18}, {"bind", "socketcall", 2}, {"connect", "socketcall", 3},
	{"getpeername", "socketcall", 7}, {"getsockname", "socketcall", 6}, {"getsockopt", "socketcall", 15},
	{"listen", "socketcall", 4}, {"msgctl", "ipc", 14}, {"msgget", "ipc", 13}, {"msgrcv", "ipc", 12}, {"msgsnd", "ipc", 11},
	{"recv", "socketcall", 10}, {"recvfrom", "socketcall", 12}, {"recvmmsg", "socketcall", 19}, {"recvmsg", "socketcall", 17},
	{"semctl", "ipc", 3}, {"semget", "ipc", 2}, {"semop", "ipc", 1}, {"semtimedop", "ipc", 4}, {"send", "socketcall", 9},
	{"sendmmsg", "socketcall", 20}, {"sendmsg", "socketcall", 16}, {"sendto", "socketcall", 11},
	{"setsockopt", "socketcall", 14}, {"shmat", "ipc", 21}, {"shmctl", "ipc", 24}, {"shmdt", "ipc", 22}, {"shmget", "ipc", 23},
	{"shutdown", "socketcall", 13}, {"socket", "socketcall", 1}, {"socketpair", "socketcall", 8},
}

// muxed gives the call that another one of i386 also goes through, and the test of its argument.
// Of ipc(2)'s first argument the upper half is a version that the kernel cuts off; libseccomp
// compares the whole, so that a forbidden semop passes it with a version of 1.
func muxed(name string) (via string, c cond, ok bool) {
	i, ok := slices.BinarySearchFunc(muxCalls, name, func(m muxCall, name string) int { return strings.Compare(m.name, name) })
	if !ok {
		return "", cond{}, false
	}
	c = cond{op: specs.OpMaskedEqual, mask: 0xffff, value: uint64(muxCalls[i].nr)}
	if muxCalls[i].via == "socketcall" {
		c = cond{op: specs.OpEqualTo, value: uint64(muxCalls[i].nr)}
	}
	return muxCalls[i].via, c, true
}
