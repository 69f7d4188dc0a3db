package manifest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: owners, devices, mounts")
	}
}

// tmpfs is a file system of the test's own, which holds every kind of attribute.
func tmpfs(t testing.TB) string {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755,size=512m"); err != nil {
		t.Skipf("needs root: mounting a tmpfs: %v", err)
	}
	t.Cleanup(func() { check(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

// sample fills dir with one of each kind, in an order that isn't the manifest's.
func sample(t testing.TB, dir string) {
	t.Helper()
	p := func(name string) string { return filepath.Join(dir, name) }
	for _, d := range []string{"d", "d/sub", "d.x", "empty"} {
		check(t, os.Mkdir(p(d), 0o755))
	}
	for name, content := range map[string]string{"d/file": "hello", "d/sub/deep": "x", "a": "one", "d.x/z": "", "odd \n\\\xff=name": "odd"} {
		check(t, os.WriteFile(p(name), []byte(content), 0o644))
	}
	check(t, os.Link(p("a"), p("d/again")))
	check(t, os.Symlink("../a", p("d/link")))
	check(t, unix.Mkfifo(p("fifo"), 0o600))
	check(t, unix.Mknod(p("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	check(t, unix.Mknod(p("loop"), unix.S_IFBLK|0o600, int(unix.Mkdev(7, 300))))
	check(t, unix.Mknod(p("sock"), unix.S_IFSOCK|0o600, 0))
	check(t, unix.Setxattr(p("d/file"), "trusted.x", []byte("value"), 0))
	check(t, unix.Lsetxattr(p("d/link"), "trusted.l", []byte(strings.Repeat("v", 65)), 0))
	check(t, unix.Setxattr(p("empty"), "trusted.y=z", nil, 0))
	check(t, os.Chmod(p("a"), 0o755|os.ModeSetuid))
	check(t, os.Chmod(p("null"), 0o666)) // whatever the umask
	check(t, os.Chown(p("d/file"), 70000, 2_000_000_000))
	check(t, filepath.Walk(dir, func(name string, _ os.FileInfo, err error) error {
		return errors.Join(err, unix.UtimesNanoAt(unix.AT_FDCWD, name, []unix.Timespec{{Sec: 1, Nsec: 1}, {Sec: -5, Nsec: 7}}, unix.AT_SYMLINK_NOFOLLOW))
	}))
}

func write(t testing.TB, dir string) (text []byte, sum string) {
	t.Helper()
	f, err := os.Open(dir)
	check(t, err)
	defer f.Close()
	var b bytes.Buffer
	sum, err = Write(t.Context(), f, &b)
	check(t, err)
	return b.Bytes(), sum
}

func differences(t testing.TB, dir string, manifest []byte) (list []string, err error) {
	t.Helper()
	f, err := os.Open(dir)
	check(t, err)
	defer f.Close()
	err = Compare(t.Context(), f, bytes.NewReader(manifest), func(d Difference) { list = append(list, d.String()) })
	return list, err
}

// TestFormat is the package doc's promise, to the byte.
func TestFormat(t *testing.T) {
	dir := tmpfs(t)
	sample(t, dir)
	got, sum := write(t, dir)
	const when = "-5.000000007"
	hello := "size=5 sha256=2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	one := "size=3 sha256=7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
	want := strings.Join([]string{
		"umiak tree manifest 1",
		"/ d 0755 0:0 " + when,
		"/a f 4755 0:0 " + when + " " + one,
		"/d d 0755 0:0 " + when,
		"/d/again f 4755 0:0 " + when + " " + one + " link=/a",
		"/d/file f 0644 70000:2000000000 " + when + " " + hello + " xattr.trusted.x=76616c7565",
		"/d/link l 0777 0:0 " + when + " target=../a xattr.trusted.l=sha256:0e50f229ffa7efab8568a324b6b7a511a22da1062d7813b4688cb4826027019e",
		"/d/sub d 0755 0:0 " + when,
		"/d/sub/deep f 0644 0:0 " + when + " size=1 sha256=2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
		"/d.x d 0755 0:0 " + when,
		"/d.x/z f 0644 0:0 " + when + " size=0 sha256=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"/empty d 0755 0:0 " + when + ` xattr.trusted.y\x3dz=`,
		"/fifo p 0600 0:0 " + when,
		"/loop b 0600 0:0 " + when + " rdev=7:300",
		"/null c 0666 0:0 " + when + " rdev=1:3",
		`/odd\x20\x0a\x5c\xff=name f 0644 0:0 ` + when + " size=3 sha256=990cb8ebd0afb7150da453a213036a92f2c05e091df0d803e62d257ea7796c27",
		"/sock s 0600 0:0 " + when,
		"end " + sum,
	}, "\n") + "\n"
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if again, err := Check(bytes.NewReader(got)); err != nil || again != sum {
		t.Errorf("checking: %s, %v; want %s", again, err, sum)
	}
	if list, err := differences(t, dir, got); err != nil || list != nil {
		t.Errorf("differs from itself: %q, %v", list, err)
	}
}

// TestCompare changes one thing at a time.
func TestCompare(t *testing.T) {
	top := tmpfs(t)
	for i, c := range []struct {
		about  string
		change func(p func(string) string) error
		want   []string
	}{
		{"nothing", func(p func(string) string) error { _, err := os.ReadFile(p("a")); return err }, nil},
		{"missing file", func(p func(string) string) error { return os.Remove(p("d/sub/deep")) }, []string{"/d/sub/deep: missing"}},
		{"missing tree", func(p func(string) string) error { return os.RemoveAll(p("d/sub")) }, []string{"/d/sub: missing"}},
		{"missing at the end", func(p func(string) string) error { return os.Remove(p("sock")) }, []string{"/sock: missing"}},
		{"extra file", func(p func(string) string) error { return os.WriteFile(p("d/sub/b"), nil, 0o600) }, []string{"/d/sub/b: extra"}},
		{"extra tree", func(p func(string) string) error { return os.MkdirAll(p("e/f/g"), 0o700) }, []string{"/e: extra"}},
		{"extra, odd", func(p func(string) string) error { return os.WriteFile(p("zz\x1b[31m"), nil, 0o600) }, []string{`"/zz\x1b[31m": extra`}},
		{"content", func(p func(string) string) error { return os.WriteFile(p("d/file"), []byte("hellO"), 0) },
			[]string{"/d/file: content is 04a6f55face2f46be8c23f627d539827615851e10751b63ec59db6d2c706b770, not 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}},
		{"size", func(p func(string) string) error { return os.WriteFile(p("d/file"), []byte("longer"), 0) }, []string{"/d/file: size is 6, not 5"}},
		{"content of a hard link", func(p func(string) string) error { return os.WriteFile(p("d/again"), []byte("four"), 0) },
			[]string{"/a: size is 4, not 3", "/d/again: size is 4, not 3"}},
		{"mode", func(p func(string) string) error { return os.Chmod(p("d"), 0o777) }, []string{"/d: mode is 0777, not 0755"}},
		{"setuid", func(p func(string) string) error { return os.Chmod(p("d/sub/deep"), 0o755|os.ModeSetuid) }, []string{"/d/sub/deep: mode is 4755, not 0644"}},
		{"root's mode", func(p func(string) string) error { return os.Chmod(p("."), 0o700) }, []string{"/: mode is 0700, not 0755"}},
		{"owner", func(p func(string) string) error { return os.Lchown(p("d/link"), 1, 2) }, []string{"/d/link: owner is 1:2, not 0:0"}},
		{"owner of a big id", func(p func(string) string) error { return os.Lchown(p("d/file"), 70000-65536, 2_000_000_000) }, []string{"/d/file: owner is 4464:2000000000, not 70000:2000000000"}},
		{"time", func(p func(string) string) error { return os.Chtimes(p("empty"), time.Time{}, time.Unix(2, 5)) }, []string{"/empty: mtime is 2.000000005, not -5.000000007"}},
		{"target", func(p func(string) string) error {
			return errors.Join(os.Remove(p("d/link")), os.Symlink("/etc/shadow", p("d/link")))
		},
			[]string{`/d/link: link target is "/etc/shadow", not "../a"`, "/d/link: xattr is missing, not trusted.l=" + xattrValue([]byte(strings.Repeat("v", 65)))}},
		{"device", func(p func(string) string) error {
			return errors.Join(os.Remove(p("null")), unix.Mknod(p("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))), os.Chmod(p("null"), 0o666))
		}, []string{"/null: device is 1:5, not 1:3"}},
		{"block for character", func(p func(string) string) error {
			return errors.Join(os.Remove(p("null")), unix.Mknod(p("null"), unix.S_IFBLK|0o666, int(unix.Mkdev(1, 3))))
		}, []string{"/null: type is a block device, not a character device"}},
		{"directory to file", func(p func(string) string) error {
			return errors.Join(os.RemoveAll(p("d")), os.WriteFile(p("d"), nil, 0o600))
		},
			[]string{"/d: type is a file, not a directory"}},
		{"file to directory", func(p func(string) string) error {
			return errors.Join(os.Remove(p("fifo")), os.MkdirAll(p("fifo/x"), 0o700))
		},
			[]string{"/fifo: type is a directory, not a fifo"}},
		{"file to link", func(p func(string) string) error {
			return errors.Join(os.Remove(p("d/file")), os.Symlink("/etc/passwd", p("d/file")))
		},
			[]string{"/d/file: type is a symbolic link, not a file"}},
		{"directory to link", func(p func(string) string) error {
			return errors.Join(os.Rename(p("d"), p("e")), os.Symlink("e", p("d")))
		},
			[]string{"/d: type is a symbolic link, not a directory", "/e: extra"}},
		{"xattr", func(p func(string) string) error { return unix.Setxattr(p("d/file"), "trusted.x", []byte("v"), 0) },
			[]string{"/d/file: xattr is trusted.x=76, not trusted.x=76616c7565"}},
		{"xattr gone", func(p func(string) string) error { return unix.Removexattr(p("empty"), "trusted.y=z") }, []string{"/empty: xattr is missing, not trusted.y=z="}},
		{"xattr of overlayfs's", func(p func(string) string) error {
			return unix.Setxattr(p("d"), "trusted.overlay.opaque", []byte("y"), 0)
		},
			[]string{"/d: xattr is trusted.overlay.opaque=79, not missing"}},
		{"capability", func(p func(string) string) error {
			return unix.Setxattr(p("d.x/z"), "security.capability", []byte("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0)
		}, []string{"/d.x/z: xattr is security.capability=0100000200040000000000000000000000000000, not missing"}},
		{"separated", func(p func(string) string) error {
			return errors.Join(os.Remove(p("d/again")), os.WriteFile(p("d/again"), []byte("one"), 0o600), os.Chmod(p("d/again"), 0o755|os.ModeSetuid))
		}, []string{"/d/again: hard link is none, not /a"}},
		{"joined", func(p func(string) string) error {
			return errors.Join(os.Remove(p("d.x/z")), os.Link(p("d/sub/deep"), p("d.x/z")))
		},
			[]string{"/d.x/z: hard link is /d/sub/deep, not none", "/d.x/z: size is 1, not 0"}},
		{"several", func(p func(string) string) error {
			return errors.Join(os.Chmod(p("a"), 0o600), os.Remove(p("empty")), os.WriteFile(p("d.x/y"), nil, 0o600))
		}, []string{"/a: mode is 0600, not 4755", "/d/again: mode is 0600, not 4755", "/d.x/y: extra", "/empty: missing"}},
	} {
		dir := filepath.Join(top, fmt.Sprint(i))
		check(t, os.Mkdir(dir, 0o755))
		sample(t, dir)
		manifest, _ := write(t, dir)
		before := times(t, dir)
		check(t, c.change(func(name string) string { return filepath.Join(dir, name) }))
		if c.about != "time" {
			restore(t, before)
		}
		list, err := differences(t, dir, manifest)
		if err != nil || !slices.Equal(list, c.want) {
			t.Errorf("%s: %v\ngot  %q\nwant %q", c.about, err, list, c.want)
		}
	}
}

// times notes the times of everything, for a tamperer who covers his tracks.
func times(t testing.TB, dir string) map[string]unix.Stat_t {
	t.Helper()
	list := make(map[string]unix.Stat_t)
	check(t, filepath.Walk(dir, func(name string, _ os.FileInfo, err error) error {
		var st unix.Stat_t
		err = errors.Join(err, unix.Lstat(name, &st))
		list[name] = st
		return err
	}))
	return list
}

func restore(t testing.TB, list map[string]unix.Stat_t) {
	t.Helper()
	for name, st := range list {
		err := unix.UtimesNanoAt(unix.AT_FDCWD, name, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
		if err != nil && err != unix.ENOENT && err != unix.ENOTDIR {
			t.Fatal(err)
		}
	}
}

// What a comparison must leave as it is, and what it must not follow.
func TestWalkIsHarmless(t *testing.T) {
	top := tmpfs(t)
	dir := filepath.Join(top, "dir")
	check(t, os.Mkdir(dir, 0o755))
	sample(t, dir)
	check(t, os.Symlink("/", filepath.Join(dir, "host")))
	before := times(t, dir)
	m, _ := write(t, dir)
	if strings.Contains(string(m), "/host/") {
		t.Error("a link was followed")
	}
	if _, err := differences(t, dir, m); err != nil {
		t.Error(err)
	}
	for name, st := range times(t, dir) {
		if st.Mode&unix.S_IFMT == unix.S_IFLNK {
			st.Atim = before[name].Atim // no flag of readlinkat(2) spares that
		}
		if st != before[name] {
			t.Errorf("%s: %+v became %+v", name, before[name], st)
		}
	}
}

func TestMountedOver(t *testing.T) {
	dir := tmpfs(t)
	sample(t, dir)
	m, _ := write(t, dir)
	check(t, unix.Mount("tmpfs", dir+"/d/sub", "tmpfs", 0, ""))
	defer unix.Unmount(dir+"/d/sub", unix.MNT_DETACH)
	if _, err := differences(t, dir, m); err == nil || !strings.Contains(err.Error(), "/d/sub: something is mounted there") {
		t.Error(err)
	}
}

// A tree too deep to be walked is an error, not a crash.
func TestTooDeep(t *testing.T) {
	dir := tmpfs(t)
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	check(t, err)
	for range maxDepth + 2 {
		check(t, unix.Mkdirat(fd, "d", 0o755))
		next, err := unix.Openat(fd, "d", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		check(t, err)
		unix.Close(fd)
		fd = next
	}
	unix.Close(fd)
	f, err := os.Open(dir)
	check(t, err)
	defer f.Close()
	if _, err := Write(t.Context(), f, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "directories deep") {
		t.Error(err)
	}
}

func TestCancel(t *testing.T) {
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "f"), nil, 0o600))
	f, err := os.Open(dir)
	check(t, err)
	defer f.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	if _, err := Write(ctx, f, &bytes.Buffer{}); !errors.Is(err, enough) {
		t.Error(err)
	}
}

// Every cut and every flipped bit is noticed before anything is compared.
func TestDamage(t *testing.T) {
	dir := tmpfs(t)
	sample(t, dir)
	m, _ := write(t, dir)
	tryIt := func(about string, bad []byte) {
		list, err := differences(t, dir, bad)
		if !errors.Is(err, ErrDamaged) || list != nil {
			t.Fatalf("%s: %v, %q", about, err, list)
		}
	}
	for n := range m {
		tryIt(fmt.Sprintf("cut at %d", n), m[:n])
	}
	for range 500 {
		bad := bytes.Clone(m)
		i := rand.IntN(len(m))
		bad[i] ^= 1 << rand.IntN(8)
		tryIt(fmt.Sprintf("a bit at %d", i), bad)
	}
	tryIt("something after the end", append(bytes.Clone(m), '\n'))
	tryIt("nothing between", []byte(header+"end sha256:"+strings.Repeat("0", 64)+"\n"))
	tryIt("a long line", []byte(header+strings.Repeat("x", maxLine+1)))
}

// The order of lines is that in which a walk meets the names, whatever they are.
func TestOrder(t *testing.T) {
	list := []string{"/", "/a", "/a/b", "/a/b/c", "/a\x01", "/a ", "/a.b", "/a.b/c", "/ab", "/b"}
	for i := range list {
		for j := range list {
			if got := compare(list[i], list[j]); got < 0 != (i < j) || got > 0 != (i > j) {
				t.Errorf("%q and %q: %d", list[i], list[j], got)
			}
		}
	}
	for _, c := range []struct {
		path, top string
		want      bool
	}{{"/a", "/", true}, {"/a", "/a", true}, {"/a/b", "/a", true}, {"/ab", "/a", false}, {"/", "/a", false}} {
		if below(c.path, c.top) != c.want {
			t.Errorf("%s below %s: %v", c.path, c.top, !c.want)
		}
	}
}

func TestParse(t *testing.T) {
	const ok = "/a f 0644 0:0 1.000000000 size=0 sha256=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	if _, err := parse(ok); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		"", "/a", ok + " ", ok + " size=0", "a" + ok[2:], "/a/.." + ok[2:], "/a//b" + ok[2:], `/\x00` + ok[2:], `/\x41` + ok[2:], `/\` + ok[2:], `/\xzz` + ok[2:],
		strings.Replace(ok, " f ", " q ", 1), strings.Replace(ok, "0644", "644", 1), strings.Replace(ok, "0644", "10644", 1),
		strings.Replace(ok, "0:0", "0:4294967296", 1), strings.Replace(ok, "0:0", "00:0", 1), strings.Replace(ok, "0:0", "-1:0", 1),
		strings.Replace(ok, "1.000000000", "1.0", 1), strings.Replace(ok, "1.000000000", "1.1000000000", 1),
		strings.Replace(ok, "size=0", "size=-1", 1), strings.Replace(ok, "size=0 ", "", 1), strings.ToUpper(ok), ok[:len(ok)-1],
		ok + " xattr.a=zz", ok + " xattr.b=00 xattr.a=00", ok + " xattr.a=00 xattr.a=00", ok + " xattr.a=" + strings.Repeat("00", 65), ok + " link=/b size=0", ok + " nonsense=1",
		ok + " xattr.a=sha256:00", "/a d 0644 0:0 1.000000000 size=0",
	} {
		if e, err := parse(bad); err == nil {
			t.Errorf("%q: %+v", bad, e)
		}
	}
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(header + "/ d 0755 0:0 1.000000000\n/a f 0644 0:0 1.000000000 size=0 sha256=" + strings.Repeat("0", 64) + " link=/b xattr.a=00\n" + trailer))
	f.Add([]byte(header + "/ d 0755 0:0 1.000000000\n/a l 0777 0:0 1.000000000 target=\\x20\n/b c 0600 0:0 -1.000000001 rdev=1:3\nend sha256:"))
	f.Fuzz(func(t *testing.T, m []byte) {
		r := newReader(bytes.NewReader(m))
		var again []byte
		for {
			e, err := r.next()
			if err != nil {
				if !errors.Is(err, ErrDamaged) {
					t.Fatal(err)
				}
				break
			}
			if e == nil {
				break
			}
			again = append(e.append(again), '\n')
		}
		// One form only: what was understood is what was written.
		if !bytes.HasPrefix(m, append([]byte(header), again...)) && again != nil {
			t.Fatalf("%q\nread as %q", m, again)
		}
	})
}

func FuzzLine(f *testing.F) {
	f.Add("/a f 0644 0:0 1.000000000 size=0 sha256=" + strings.Repeat("0", 64) + " link=/b xattr.a\\x3d=00")
	f.Add("/a\\x20 l 0777 0:0 -1.999999999 target=\\xff")
	f.Fuzz(func(t *testing.T, line string) {
		if e, err := parse(line); err == nil && string(e.append(nil)) != line {
			t.Fatalf("%q became %q", line, e.append(nil))
		}
	})
}
