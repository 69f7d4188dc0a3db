package seccomp

import (
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// call is what a filter is asked about, struct seccomp_data.
type call struct {
	nr    uint32
	audit uint32
	args  [6]uint64
}

func (c call) word(offset uint32) (uint32, error) {
	var b [64]byte
	binary.LittleEndian.PutUint32(b[0:], c.nr)
	binary.LittleEndian.PutUint32(b[4:], c.audit)
	for i, a := range c.args {
		binary.LittleEndian.PutUint64(b[16+8*i:], a)
	}
	if offset%4 != 0 || offset > 60 {
		return 0, fmt.Errorf("a load from %d", offset)
	}
	return binary.LittleEndian.Uint32(b[offset:]), nil
}

func insns(filter []byte) []unix.SockFilter {
	var code []unix.SockFilter
	for b := range slices.Chunk(filter, 8) {
		code = append(code, unix.SockFilter{Code: binary.NativeEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.NativeEndian.Uint32(b[4:])})
	}
	return code
}

// execute runs a filter as the kernel would; steps is how many instructions it took.
func execute(code []unix.SockFilter, c call) (ret uint32, steps int, err error) {
	var a uint32
	for pc := 0; pc < len(code); pc++ {
		steps++
		i := code[pc]
		jump := func(yes bool) {
			if yes {
				pc += int(i.Jt)
			} else {
				pc += int(i.Jf)
			}
		}
		switch i.Code {
		case 0x20: // ld [k]
			if a, err = c.word(i.K); err != nil {
				return 0, 0, err
			}
		case 0x54:
			a &= i.K
		case 0x05:
			pc += int(i.K)
		case 0x15:
			jump(a == i.K)
		case 0x25:
			jump(a > i.K)
		case 0x35:
			jump(a >= i.K)
		case 0x45: // jset, which libseccomp and runc use
			jump(a&i.K != 0)
		case 0x06:
			return i.K, steps, nil
		default:
			return 0, 0, fmt.Errorf("instruction %d has code %#x", pc, i.Code)
		}
	}
	return 0, 0, fmt.Errorf("the filter has no end")
}

// judge is the meaning of a profile, told once more as simply as it can be: rule after rule, for
// one call. The filters are compared with it.
type judge struct {
	profile *specs.LinuxSeccomp
	native  specs.Arch
	names   map[specs.Arch]map[uint32][]string
	last    map[specs.Arch]int64                           // the highest number named, -1 for none
	about   map[specs.Arch]map[uint32][]specs.LinuxSyscall // found so far
	decides map[uint32]bool                                // numbers looksAtArguments knows of
}

func newJudge(s *specs.LinuxSeccomp, goarch string) *judge {
	j := &judge{profile: s, native: reachable(goarch)[0], names: map[specs.Arch]map[uint32][]string{}, last: map[specs.Arch]int64{},
		about: map[specs.Arch]map[uint32][]specs.LinuxSyscall{}, decides: map[uint32]bool{}}
	for i, arch := range []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32, specs.ArchAARCH64, specs.ArchARM} {
		j.names[arch] = map[uint32][]string{}
		for _, e := range syscallTable {
			if e.nr[i] >= 0 {
				j.names[arch][uint32(e.nr[i])] = append(j.names[arch][uint32(e.nr[i])], e.name)
			}
		}
		j.last[arch], j.about[arch] = j.highest(arch), map[uint32][]specs.LinuxSyscall{}
	}
	return j
}

// covers: the names of Intel's architectures have an X, those of ARM's do not.
func (j *judge) covers(a specs.Arch) bool {
	return a == j.native || slices.Contains(j.profile.Architectures, a) && (strings.Contains(string(a), "X") == strings.Contains(string(j.native), "X"))
}

func action(a specs.LinuxSeccompAction, errno *uint) uint32 {
	n := uint32(1)
	if errno != nil {
		n = uint32(*errno)
	}
	return map[specs.LinuxSeccompAction]uint32{
		"SCMP_ACT_ALLOW": 0x7fff0000, "SCMP_ACT_LOG": 0x7ffc0000, "SCMP_ACT_TRACE": 0x7ff00000 | n, "SCMP_ACT_ERRNO": 0x50000 | n,
		"SCMP_ACT_TRAP": 0x30000, "SCMP_ACT_KILL": 0, "SCMP_ACT_KILL_THREAD": 0, "SCMP_ACT_KILL_PROCESS": 0x80000000,
	}[a]
}

func holds(a specs.LinuxSeccompArg, args [6]uint64, wide bool) bool {
	have, want, two := args[a.Index], a.Value, a.ValueTwo
	if !wide {
		have, want, two = have&0xffffffff, want&0xffffffff, two&0xffffffff
	}
	switch a.Op {
	case "SCMP_CMP_EQ":
		return have == want
	case "SCMP_CMP_NE":
		return have != want
	case "SCMP_CMP_LT":
		return have < want
	case "SCMP_CMP_LE":
		return have <= want
	case "SCMP_CMP_GT":
		return have > want
	case "SCMP_CMP_GE":
		return have >= want
	}
	return have&want == two&want
}

func matches(s specs.LinuxSyscall, args [6]uint64, wide bool) bool {
	count := map[uint]int{}
	some, all, repeated := false, true, false
	for _, a := range s.Args {
		count[a.Index]++
		repeated = repeated || count[a.Index] > 1
		h := holds(a, args, wide)
		some, all = some || h, all && h
	}
	return repeated && some || !repeated && all
}

func (j *judge) answer(c call) uint32 {
	arch, nr := specs.Arch(""), c.nr
	switch c.audit {
	case 0xc000003e:
		arch = specs.ArchX86_64
		if nr >= 1<<30 {
			arch, nr = specs.ArchX32, nr&^(1<<30)
		}
	case 0x40000003:
		arch = specs.ArchX86
	case 0xc00000b7:
		arch = specs.ArchAARCH64
	case 0x40000028:
		arch = specs.ArchARM
	}
	def := action(j.profile.DefaultAction, j.profile.DefaultErrnoRet)
	newer := uint32(0x50026)
	if slices.Contains([]specs.LinuxSeccompAction{"SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"}, j.profile.DefaultAction) {
		newer = def
	}
	if c.audit == 0xc000003e && c.nr == 1<<32-1 && j.covers(specs.ArchX86_64) && !j.covers(specs.ArchX32) {
		return newer
	}
	if !j.covers(arch) {
		return 0
	}
	if ret, ok := j.first(arch, nr, c.args, def); ok {
		return ret
	}
	if last := j.last[arch]; last >= 0 && int64(nr) > last && (arch != specs.ArchARM || nr < 0xf0000) {
		return newer
	}
	return def
}

// first finds the rule for a call: the first without conditions, or else the first that matches.
func (j *judge) first(arch specs.Arch, nr uint32, args [6]uint64, def uint32) (uint32, bool) {
	rules, ok := j.about[arch][nr]
	if !ok {
		for _, s := range j.profile.Syscalls {
			for _, name := range s.Names {
				if slices.Contains(j.names[arch][nr], name) || arch == specs.ArchX86 && (nr == 102 || nr == 117) {
					one := s
					one.Names = []string{name}
					rules = append(rules, one)
				}
			}
		}
		j.about[arch][nr] = rules
	}
	wide := arch == specs.ArchX86_64 || arch == specs.ArchAARCH64
	for _, conditional := range []bool{false, true} {
		for _, s := range rules {
			ret, name := action(s.Action, s.ErrnoRet), s.Names[0]
			if ret == def {
				continue
			}
			if slices.Contains(j.names[arch][nr], name) && conditional == (len(s.Args) > 0) && matches(s, args, wide) {
				return ret, true
			}
			stricter := int32(ret&0xffff0000) <= int32(def&0xffff0000)
			if conditional && arch == specs.ArchX86 && muxMatches(name, nr, uint32(args[0])) && (len(s.Args) == 0 || stricter) {
				return ret, true
			}
		}
	}
	return 0, false
}

// muxMatches says whether a call of i386 is socketcall(2) or ipc(2) asking for another call.
func muxMatches(name string, nr, first uint32) bool {
	sockets := []string{"socket", "bind", "connect", "listen", "accept", "getsockname", "getpeername", "socketpair", "send", "recv",
		"sendto", "recvfrom", "shutdown", "setsockopt", "getsockopt", "sendmsg", "recvmsg", "accept4", "recvmmsg", "sendmmsg"}
	ipc := map[string]uint32{"semop": 1, "semget": 2, "semctl": 3, "semtimedop": 4, "msgsnd": 11, "msgrcv": 12, "msgget": 13,
		"msgctl": 14, "shmat": 21, "shmdt": 22, "shmget": 23, "shmctl": 24}
	switch nr {
	case 102:
		i := slices.Index(sockets, name)
		return i >= 0 && uint32(i+1) == first
	case 117:
		n, ok := ipc[name]
		return ok && n == first&0xffff
	}
	return false
}

func (j *judge) highest(arch specs.Arch) int64 {
	last := int64(-1)
	for nr, names := range j.names[arch] {
		if arch == specs.ArchARM && nr >= 0xf0000 {
			continue
		}
		for _, s := range j.profile.Syscalls {
			if slices.ContainsFunc(names, func(n string) bool { return slices.Contains(s.Names, n) }) {
				last = max(last, int64(nr))
			}
		}
	}
	return last
}

// calls are all that a filter can tell apart: each number by each ABI, and where arguments decide,
// with each set of them.
func (j *judge) calls(args [][6]uint64) iter.Seq[call] {
	return func(yield func(call) bool) {
		for _, audit := range audits {
			for _, nr := range numbers() {
				for i, a := range args {
					if i >= 2 && !j.looksAtArguments(nr) {
						break
					}
					if !yield(call{nr, audit, a}) {
						return
					}
				}
			}
		}
	}
}

// looksAtArguments says whether any ABI has a conditional rule for the number.
func (j *judge) looksAtArguments(nr uint32) (yes bool) {
	if known, ok := j.decides[nr]; ok {
		return known
	}
	defer func() { j.decides[nr] = yes }()
	for _, names := range j.names {
		for _, s := range j.profile.Syscalls {
			if len(s.Args) > 0 && slices.ContainsFunc(names[nr&^x32Bit], func(n string) bool { return slices.Contains(s.Names, n) }) {
				return true
			}
		}
	}
	return nr == 102 || nr == 117 // socketcall(2) and ipc(2) of i386
}
