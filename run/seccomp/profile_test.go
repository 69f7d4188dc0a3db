package seccomp

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// docker renders a profile with docker's own code, for this machine.
func docker(t *testing.T, render func(*specs.Spec) (*specs.LinuxSeccomp, error), caps []string) *specs.LinuxSeccomp {
	t.Helper()
	s, err := render(&specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: caps}}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func same(t *testing.T, what string, got, want *specs.LinuxSeccomp) {
	t.Helper()
	g, _ := json.MarshalIndent(got, "", " ")
	w, _ := json.MarshalIndent(want, "", " ")
	if string(g) != string(w) {
		t.Errorf("%s: it is not docker's:\n%s\nwant\n%s", what, g, w)
	}
}

// capSets are random sets out of all that docker's profile asks about, and a few more.
func capSets() (all [][]string) {
	names := append([]string{"CAP_SYS_ADMIN", "CAP_SYSLOG", "CAP_SYS_RAWIO"}, dockerCaps...)
	for _, g := range dockerDefault.Syscalls {
		for _, c := range []*conditions{g.Includes, g.Excludes} {
			if c != nil {
				names = append(names, c.Caps...)
			}
		}
	}
	all = append(all, nil, dockerCaps, names)
	r := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		var set []string
		for _, n := range names {
			if r.IntN(2) == 0 {
				set = append(set, n)
			}
		}
		all = append(all, set)
	}
	return all
}

// TestDefaultIsDockers: run go generate if this fails after an update of the module.
func TestDefaultIsDockers(t *testing.T) {
	for _, caps := range capSets() {
		same(t, "Default", Default(caps, runtime.GOARCH), docker(t, seccomp.GetDefaultProfile, caps))
	}
}

// Docker's code knows only the machine it runs on. For the other the profile goes through its file form.
func TestDefaultOfOtherMachines(t *testing.T) {
	b, err := json.Marshal(seccomp.DefaultProfile())
	if err != nil {
		t.Fatal(err)
	}
	for _, goarch := range []string{"amd64", "arm64"} {
		for _, caps := range capSets() {
			s, err := Parse(b, caps, goarch, "5.12.0")
			if err != nil {
				t.Fatal(err)
			}
			same(t, goarch, Default(caps, goarch), s)
		}
	}
	if a := Default(nil, "arm64").Architectures; !reflect.DeepEqual(a, []specs.Arch{specs.ArchAARCH64, specs.ArchARM}) {
		t.Error(a)
	}
}

// Default gives a copy: what a caller does to it is not docker's default for the next.
func TestDefaultIsACopy(t *testing.T) {
	s := Default(nil, "amd64")
	*s.DefaultErrnoRet, s.Syscalls[0].Names[0], s.Architectures[0] = 5, "x", "y"
	for _, c := range s.Syscalls {
		if len(c.Args) > 0 {
			c.Args[0].Value = 1234
		}
	}
	same(t, "Default", Default(nil, runtime.GOARCH), docker(t, seccomp.GetDefaultProfile, nil))
}

// Every name in docker's profile is one that a table has, or one of machines that we have no table of.
func TestDefaultNamesAreKnown(t *testing.T) {
	for _, goarch := range []string{"amd64", "arm64"} {
		p, err := Compile(Default(dockerCaps, goarch), goarch)
		if err != nil {
			t.Fatal(err)
		}
		if s := strings.TrimSuffix(strings.Join(p.Unknown, " "), " sync_file_range2"); s != "riscv_hwprobe" {
			t.Errorf("%s: unknown: %s", goarch, s)
		}
	}
}

// TestParseIsDockers compares with docker's own reader, file by file.
func TestParseIsDockers(t *testing.T) {
	files, err := filepath.Glob("testdata/profiles/*.json")
	if err != nil || len(files) < 4 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, caps := range [][]string{nil, {"CAP_SYS_ADMIN"}, {"CAP_SYS_ADMIN", "CAP_SYS_CHROOT"}} {
			var uname = func() string { b, _ := os.ReadFile("/proc/sys/kernel/osrelease"); return string(b) }()
			s, err := Parse(b, caps, runtime.GOARCH, uname)
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			same(t, file, s, docker(t, func(rs *specs.Spec) (*specs.LinuxSeccomp, error) { return seccomp.LoadProfile(string(b), rs) }, caps))
			if _, err := Compile(s, runtime.GOARCH); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}

func TestConditions(t *testing.T) {
	const form = `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["x"],"action":"SCMP_ACT_ALLOW",%}]}`
	for _, x := range []struct {
		conditions, caps, arch, kernel string
		want                           bool
	}{
		{`"includes":{}`, "", "amd64", "5.12", true},
		{`"includes":null,"excludes":{"minKernel":""}`, "", "amd64", "5.12", true},
		{`"includes":{"caps":["A","B"]}`, "A", "amd64", "5.12", false},
		{`"includes":{"caps":["A","B"]}`, "B A", "amd64", "5.12", true},
		{`"excludes":{"caps":["A","B"]}`, "B", "amd64", "5.12", false},
		{`"excludes":{"caps":["A","B"]}`, "C", "amd64", "5.12", true},
		{`"includes":{"arches":["arm64","x32"]}`, "", "amd64", "5.12", false},
		{`"includes":{"arches":["arm64","amd64"]}`, "", "amd64", "5.12", true},
		{`"excludes":{"arches":["amd64"]}`, "", "amd64", "5.12", false},
		{`"excludes":{"arches":["amd64"]}`, "", "arm64", "5.12", true},
		{`"includes":{"minKernel":"5.12"}`, "", "amd64", "5.12.3-1-amd64", true},
		{`"includes":{"minKernel":"5.13"}`, "", "amd64", "5.12.99", false},
		{`"includes":{"minKernel":"5.13"}`, "", "amd64", "6.1-rc1", true},
		{`"includes":{"minKernel":"6.0"}`, "", "amd64", "5.19", false},
		{`"excludes":{"minKernel":"5.13"}`, "", "amd64", "5.12", true},
		{`"excludes":{"minKernel":"5.12"}`, "", "amd64", "5.12", false},
		{`"excludes":{"caps":["A"]},"includes":{"caps":["B"]}`, "B", "amd64", "", true},
	} {
		s, err := Parse([]byte(strings.Replace(form, "%", x.conditions, 1)), strings.Fields(x.caps), x.arch, x.kernel)
		if err != nil {
			t.Errorf("%s: %v", x.conditions, err)
		} else if (len(s.Syscalls) == 1) != x.want {
			t.Errorf("%s with %q on %s %s: %v", x.conditions, x.caps, x.arch, x.kernel, !x.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, x := range []struct{ file, want string }{
		{``, "EOF"},
		{`null`, "defaultAction is missing"},
		{`{}`, "defaultAction is missing"},
		{`{"defaultAction":"SCMP_ACT_ALLOW"} x`, "something after its end"},
		{`{"defaultAction":"SCMP_ACT_ALLOW"}{}`, "something after its end"},
		{"{\n\"defaultAction\":\n5}", "line 3:"},
		{"{\n\n!", "line 3:"},
		{`{"defaultAction":"ALLOW"}`, `unknown action "ALLOW"`},
		{`{"defaultAction":"SCMP_ACT_ERRNO","sycalls":[]}`, `unknown field "sycalls"`},
		{`{"defaultAction":"SCMP_ACT_ERRNO","defaultAction":"SCMP_ACT_ALLOW"}`, `"defaultAction" is given twice`},
		{`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["a"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"op":"SCMP_CMP_EQ","value":1,"value":2}]}]}`, `"value" is given twice`},
		{`{"DefaultAction":"SCMP_ACT_ERRNO"}`, `unknown field "DefaultAction"`},
		{`{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":-1}`, "cannot unmarshal number -1"},
		{`{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":5000}`, "above 4095"},
		{`{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,"defaultErrno":"ENOSYS"}`, "error number 1 is not ENOSYS"},
		{`{"defaultAction":"SCMP_ACT_ERRNO","defaultErrno":"ENOSUCH"}`, `unknown error name "ENOSUCH"`},
		{`{"defaultAction":"SCMP_ACT_ERRNO","architectures":["x86_64"]}`, `architecture "x86_64": unknown`},
		{`{"defaultAction":"SCMP_ACT_ERRNO","archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["i386"]}]}`, `architecture "i386": unknown`},
		{`{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86_64"}]}`, "both architectures and archMap"},
		{`{"defaultAction":"SCMP_ACT_ERRNO","flags":["LOG"]}`, `flag "LOG"`},
		{`{"defaultAction":"SCMP_ACT_ERRNO","listenerPath":"/x"}`, "listenerPath"},
		{`{"defaultAction":"SCMP_ACT_NOTIFY"}`, "SCMP_ACT_NOTIFY is not supported"},
		{`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"action":"SCMP_ACT_ALLOW"}]}`, "rule 1: a system call without a name"},
		{`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["a",""],"action":"SCMP_ACT_ALLOW"}]}`, "rule 1: a system call without a name"},
		{`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["a"],"name":"b","action":"SCMP_ACT_ALLOW"}]}`, "both name and names"},
		{`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["a"]}]}`, `rule 1: unknown action ""`},
		{`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["a"],"action":"SCMP_ACT_ALLOW","errnoRet":1}]}`, "takes no error number"},
		{`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["a"],"action":"SCMP_ACT_ALLOW","args":[{"index":6,"op":"SCMP_CMP_EQ"}]}]}`, "argument 6"},
		{`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["a"],"action":"SCMP_ACT_ALLOW","args":[{"index":0}]}]}`, `unknown comparison ""`},
		{`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["a"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"5"}}]}`, `minKernel "5": not of the form`},
		{`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["a"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"5.1.2"}}]}`, `minKernel "5.1.2"`},
		{`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["a"],"action":"SCMP_ACT_ALLOW","excludes":{"minKernel":"0.0"}}]}`, `minKernel "0.0"`},
		{`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["a"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"5.1"}}]}`, `kernel release "x"`},
		{`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["a"],"action":"SCMP_ACT_ALLOW","includes":{"cap":["X"]}}]}`, `unknown field "cap"`},
	} {
		if _, err := Parse([]byte(x.file), nil, "amd64", "x"); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s\n\t%v, want %q", x.file, err, x.want)
		}
	}
}

// FuzzParse: whatever a file says, it is refused, or means the same after docker's writer has it
// written, and can be compiled (or is too long).
func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/profiles/*.json")
	for _, file := range files {
		if b, err := os.ReadFile(file); err == nil {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Parse(b, dockerCaps, "amd64", "6.1.0")
		if err != nil {
			return
		}
		p, err := Compile(s, "amd64")
		if err != nil {
			if !strings.Contains(err.Error(), "the kernel takes") {
				t.Fatalf("read, but not compiled: %v", err)
			}
			return
		}
		if _, _, err := execute(insns(p.Filter), call{audit: audits[0]}); err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		s2, err := Parse(again, nil, "amd64", "")
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		p2, err := Compile(s2, "amd64")
		if err != nil || !reflect.DeepEqual(p.Filter, p2.Filter) {
			t.Fatalf("%s is another filter (%v)", again, err)
		}
	})
}
