package rootfs

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// lookups are the two ways to resolve a name; every table below goes through both.
func lookups() map[string]lookup {
	return map[string]lookup{"openat2": byKernel, "walker": byWalker}
}

// eachLookup runs the test over a tree beside which lies what must never be reached.
func eachLookup(t *testing.T, test func(t *testing.T, d *Dir, root, outside string)) {
	for name, l := range lookups() {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			root, outside := filepath.Join(top, "root"), filepath.Join(top, "outside")
			must(t, os.Mkdir(root, 0o755))
			must(t, os.Mkdir(outside, 0o755))
			must(t, os.WriteFile(filepath.Join(outside, "secret"), []byte("host"), 0o644))
			fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			must(t, err)
			if name == "openat2" {
				if f, err := byKernel(fd, ".", 0); err != nil {
					t.Skipf("needs openat2: %v", err)
				} else {
					unix.Close(f)
				}
			}
			d := newDir(fd, l)
			defer d.Close()
			test(t, d, root, outside)
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tree makes an image tree full of links in root.
func tree(t *testing.T, root, outside string) {
	for _, dir := range []string{"etc", "usr/lib/x", "a/b/c"} {
		must(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	must(t, os.WriteFile(filepath.Join(root, "etc/passwd"), []byte("image"), 0o644))
	for name, target := range map[string]string{
		"lib":      "usr/lib",
		"abs":      "/usr/lib",
		"out":      outside,
		"up":       "../../../../../../etc",
		"a/b/back": "../../etc",
		"loop":     "loop2",
		"loop2":    "loop",
		"hanging":  "no/where",
		"passwd":   "/etc/passwd",
		"dots":     "a/b/../../etc/./passwd",
		"slash":    "etc/passwd/",
		"self":     ".",
		"top":      "/",
	} {
		must(t, os.Symlink(target, filepath.Join(root, name)))
	}
}

func TestLookup(t *testing.T) {
	cases := []struct {
		name string
		want string // path of the object inside root
		err  error
	}{
		{"", ".", nil},
		{".", ".", nil},
		{"/", ".", nil},
		{"..", ".", nil},
		{"../..", ".", nil},
		{"etc", "etc", nil},
		{"/etc//./passwd", "etc/passwd", nil},
		{"lib/x", "usr/lib/x", nil},
		{"abs/x", "usr/lib/x", nil},
		{"abs/../..", ".", nil},
		{"up/passwd", "etc/passwd", nil},
		{"a/b/back/passwd", "etc/passwd", nil},
		{"a/b/c/../../../etc", "etc", nil},
		{"passwd", "etc/passwd", nil},
		{"dots", "etc/passwd", nil},
		{"self/self/self/etc", "etc", nil},
		{"top/top/abs", "usr/lib", nil},
		{"out", "", unix.ENOENT},
		{"out/secret", "", unix.ENOENT},
		{"../outside/secret", "", unix.ENOENT},
		{"loop", "", unix.ELOOP},
		{"loop/x", "", unix.ELOOP},
		{"hanging", "", unix.ENOENT},
		{"etc/passwd/", "", unix.ENOTDIR},
		{"etc/passwd/x", "", unix.ENOTDIR},
		{"etc/passwd/..", "", unix.ENOTDIR},
		{"etc/passwd/.", "", unix.ENOTDIR},
		{"slash", "", unix.ENOTDIR},
		{"nothing", "", unix.ENOENT},
		{"a/nothing/x", "", unix.ENOENT},
		{"a/" + strings.Repeat("n", 256), "", unix.ENAMETOOLONG},
	}
	eachLookup(t, func(t *testing.T, d *Dir, root, outside string) {
		tree(t, root, outside)
		for _, c := range cases {
			got, err := d.Stat(c.name)
			if !errors.Is(err, c.err) {
				t.Errorf("%q: error %v, want %v", c.name, err, c.err)
			}
			if err != nil || c.err != nil {
				continue
			}
			var want unix.Stat_t
			must(t, unix.Lstat(filepath.Join(root, c.want), &want))
			if got.Ino != want.Ino || got.Dev != want.Dev {
				t.Errorf("%q is not %s", c.name, c.want)
			}
		}
	})
}

func TestLookupDirectory(t *testing.T) {
	eachLookup(t, func(t *testing.T, d *Dir, root, outside string) {
		tree(t, root, outside)
		if _, err := d.lookup(d.root, "etc/passwd", unix.O_DIRECTORY); err != unix.ENOTDIR {
			t.Errorf("a file as a directory: %v", err)
		}
		fd, err := d.lookup(d.root, "abs", unix.O_DIRECTORY)
		must(t, err)
		unix.Close(fd)
	})
}

// Forty links are followed as by path_resolution(7), one more is a loop.
func TestLinkLimit(t *testing.T) {
	eachLookup(t, func(t *testing.T, d *Dir, root, _ string) {
		must(t, os.WriteFile(filepath.Join(root, "l0"), nil, 0o644))
		for i := range 41 {
			must(t, os.Symlink("l"+itoa(i), filepath.Join(root, "l"+itoa(i+1))))
		}
		if _, err := d.Stat("l40"); err != nil {
			t.Errorf("40 links: %v", err)
		}
		if _, err := d.Stat("l41"); !errors.Is(err, unix.ELOOP) {
			t.Errorf("41 links: %v", err)
		}
	})
}

func itoa(i int) string { return string([]byte{byte('0' + i/10), byte('0' + i%10)})[b2i(i < 10):] }

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestResolve(t *testing.T) {
	cases := map[string]string{
		"":                        "/",
		"..":                      "/",
		"lib":                     "/usr/lib",
		"abs/x":                   "/usr/lib/x",
		"passwd":                  "/etc/passwd",
		"up":                      "/etc",
		"lib/no/../such":          "/usr/lib/such",
		"no/such/../../../../abs": "/abs", // past what is missing, names are only text, as for securejoin
		"hanging":                 "/no/where",
		"hanging/more":            "/no/where/more",
		"a/b/back/shadow":         "/etc/shadow",
		"etc/passwd/x":            "/etc/passwd/x",
		"/abs/../../etc":          "/etc",
	}
	eachLookup(t, func(t *testing.T, d *Dir, root, outside string) {
		tree(t, root, outside)
		for name, want := range cases {
			got, err := d.Resolve(name)
			if err != nil || got != want {
				t.Errorf("Resolve(%q) = %q, %v; want %q", name, got, err, want)
			}
		}
		if got, err := d.Resolve("loop"); err == nil {
			t.Errorf("a loop resolves to %q", got)
		}
		// A link that names a path of the host is a path inside, though nothing is there.
		if got, err := d.Resolve("out/secret"); err != nil || got != filepath.Join(outside, "secret") {
			t.Errorf("Resolve(out/secret) = %q, %v", got, err)
		}
	})
}

// The magic links of procfs lead out of every root, whatever they read as.
func TestMagicLinks(t *testing.T) {
	eachLookup(t, func(t *testing.T, d *Dir, root, _ string) {
		proc := filepath.Join(root, "proc")
		must(t, os.Mkdir(proc, 0o755))
		if err := unix.Mount("proc", proc, "proc", 0, ""); err != nil {
			t.Skipf("needs root: mounting procfs: %v", err)
		}
		defer unix.Unmount(proc, unix.MNT_DETACH)
		for _, name := range []string{"proc/1/root", "proc/1/cwd/etc/passwd", "proc/thread-self/root/etc"} {
			if st, err := d.Stat(name); err == nil {
				t.Errorf("%s reached %+v", name, st)
			}
		}
	})
}

// TestFallback has a seccomp filter refuse openat2, as container engines do.
func TestFallback(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EPERM, unix.ENOSYS} {
		t.Run(unix.ErrnoName(errno), func(t *testing.T) {
			root := t.TempDir()
			tree(t, root, "/outside")
			type result struct {
				fallback bool
				data     []byte
				err      error
			}
			done := make(chan result)
			go func() {
				runtime.LockOSThread() // and never unlocked: the filter goes with the thread
				var r result
				defer func() { done <- r }()
				if r.err = refuseOpenat2(errno); r.err != nil {
					return
				}
				d, err := Open(root)
				if r.err = err; err != nil {
					return
				}
				defer d.Close()
				_, kerr := byKernel(d.root, ".", 0)
				r.fallback = kerr == errno
				r.data, r.err = d.ReadFile("up/passwd", 100)
			}()
			r := <-done
			if r.err != nil {
				t.Fatal(r.err)
			}
			if !r.fallback {
				t.Error("the filter did not work, this proves nothing")
			}
			if string(r.data) != "image" {
				t.Errorf("read %q", r.data)
			}
		})
	}
}

func refuseOpenat2(errno unix.Errno) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the system call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_OPENAT2, Jt: 0, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0)
}
