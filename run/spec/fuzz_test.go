package spec

import (
	"errors"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func FuzzParseUser(f *testing.F) {
	for _, user := range []string{"", "root", "app:wheel", "1000", "1000:7", "4294967295", "4294967296", ":", "a:b:c", "-1", "0x0"} {
		f.Add(user, []byte(passwd), []byte(group))
	}
	f.Add("short", []byte("short"), []byte(nil))
	f.Add("x", []byte("x:::::"), []byte("x::0:x,x,,x"))
	f.Fuzz(func(t *testing.T, user string, passwd, group []byte) {
		u, home, err := ParseUser(user, Files{Passwd: passwd, Group: group})
		if err != nil {
			if !errors.Is(err, ErrInvalid) || !isZero(u) {
				t.Fatalf("%q: %+v, %v", user, u, err)
			}
			return
		}
		name, grp, _ := strings.Cut(user, ":")
		if home == "" || u.UID > maxID || u.GID > maxID || len(u.AdditionalGids) > maxGroups || u.AdditionalGids[0] != u.GID {
			t.Fatalf("%q: %+v, home %q", user, u, home)
		}
		if n, err := strconv.ParseUint(name, 10, 64); isDigits(name) && (err != nil || uint64(u.UID) != n) {
			t.Fatalf("%q: uid %d is not the number", user, u.UID)
		}
		if n, err := strconv.ParseUint(grp, 10, 64); isDigits(grp) && (err != nil || uint64(u.GID) != n) {
			t.Fatalf("%q: gid %d is not the number", user, u.GID)
		}
		// A name that becomes root has a line which says so in digits.
		if name != "" && !isDigits(name) && u.UID == 0 && !saysRoot(name, passwd) {
			t.Fatalf("%q: became root by %q", user, passwd)
		}
	})
}

func isZero(u specs.User) bool { return u.UID == 0 && u.GID == 0 && u.AdditionalGids == nil }

func saysRoot(name string, passwd []byte) bool {
	for line := range strings.Lines(string(passwd)) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) > 3 && fields[0] == name {
			return fields[2] != "" && strings.Trim(fields[2], "0") == ""
		}
	}
	return false
}

func FuzzParseBytes(f *testing.F) {
	for _, s := range []string{"", "0", "100m", "1.5g", ".5 kib", "8191p", "8192p", "-1", "1e3", "nan", "0.000000000000000001t", "99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseBytes(s)
		if err != nil {
			if n != 0 || !errors.Is(err, ErrInvalid) {
				t.Fatalf("%q: %d, %v", s, n, err)
			}
			return
		}
		if n < 0 || s[0] == '-' {
			t.Fatalf("%q: %d", s, n)
		}
		if again, err := ParseBytes(strconv.FormatInt(n, 10) + "b"); err != nil || again != n {
			t.Fatalf("%q: %d, written out and read again %d, %v", s, n, again, err)
		}
		// A float is an oracle good to 2^-52 and the rounding down.
		if number, unit, _ := splitUnit(s); len(number) < 15 {
			x, err := strconv.ParseFloat(number, 64)
			if d := x*float64(unit) - float64(n); err != nil || d < -1e-3*float64(unit)-1 || d > 1e-3*float64(unit)+1 {
				t.Fatalf("%q: %d, as a float %g", s, n, x*float64(unit))
			}
		}
	})
}

// FuzzSpec: whatever image and user say, New returns a valid spec which keeps
// the promises, or an ErrInvalid.
func FuzzSpec(f *testing.F) {
	f.Add("A=1\nPATH=/x\nB", "/bin/sh\n-c", "/app", "root", "SIGTERM", passwd, group, "A=2\nB", "wheel\n7", "NET_ADMIN", "ALL", "0-3", int64(100<<20), int64(0))
	f.Add("\x00", "", "../..", "4294967296", "9;", "x::0", "", "=", "nosuch", "ALL", "ALL", ",", int64(-1), int64(-1))
	f.Fuzz(func(t *testing.T, env, cmd, dir, user, signal, passwd, group, userEnv, groups, add, drop, cpus string, memory, swap int64) {
		lines := func(s string) []string {
			return slices.DeleteFunc(strings.Split(s, "\n"), func(l string) bool { return l == "" })
		}
		img := Image{Env: lines(env), Cmd: lines(cmd), WorkingDir: dir, User: user, StopSignal: signal}
		o := Options{
			ID: "id", RootPath: "/r", Env: lines(userEnv), GroupAdd: lines(groups), CapAdd: lines(add), CapDrop: lines(drop),
			Resources: Resources{Memory: &memory, MemorySwap: &swap, CpusetCpus: cpus},
		}
		s, err := New(img, Files{Passwd: []byte(passwd), Group: []byte(group)}, o)
		if err != nil {
			if s != nil || !errors.Is(err, ErrInvalid) {
				t.Fatalf("%v, %v", s, err)
			}
			return
		}
		checkPromises(t, s)
	})
}

func checkPromises(t *testing.T, s *specs.Spec) {
	if err := Validate(s); err != nil {
		t.Fatalf("New returned what Validate refuses: %v", err)
	}
	c := s.Process.Capabilities
	if len(c.Inheritable)+len(c.Ambient) > 0 || s.Process.User.UID != 0 && len(c.Effective)+len(c.Permitted) > 0 {
		t.Fatalf("uid %d with %+v", s.Process.User.UID, c)
	}
	if cwd := s.Process.Cwd; path.Clean(cwd) != cwd || !path.IsAbs(cwd) {
		t.Fatalf("directory %q", cwd)
	}
	seen := map[string]bool{}
	for _, kv := range s.Process.Env {
		key, _, ok := strings.Cut(kv, "=")
		if !ok || seen[key] {
			t.Fatalf("environment %q", s.Process.Env)
		}
		seen[key] = true
	}
	if !seen["HOME"] || s.Linux.Resources != nil && s.Linux.Resources.Memory != nil && s.Linux.Resources.Memory.Swap == nil {
		t.Fatalf("no HOME, or swap left open: %+v", s)
	}
	if len(s.Linux.Devices) > 0 || s.Hooks != nil || len(s.Mounts) != len(defaultMounts(0)) {
		t.Fatalf("the image brought devices, hooks or mounts: %+v", s)
	}
}
