package child

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestOnlyDescriptors: until the host's tree is gone no call of the child takes a path that an
// image has a say in, but from a descriptor in the root and without following links. That leaves
// nothing to race: not a masked path swapped for a link (CVE-2025-31133), not a terminal
// (CVE-2025-52565), not a mount's destination (CVE-2021-30465), not a directory on its way
// (CVE-2024-45310).
func TestOnlyDescriptors(t *testing.T) {
	hostile := []string{"/a/../../../b", "/proc/self/fd/7/x", "/proc/1/root/etc", "/dev/../etc", "/x//y/./z", "/sys/fs/../../etc"}
	for name, c := range map[string]Config{
		"overlay":         {Overlay: overlay},
		"directory":       {},
		"terminal":        {Overlay: overlay, Terminal: &Terminal{MountFd: 8, SlaveFd: 9}},
		"v1":              {Overlay: overlay, Hierarchies: []Hierarchy{{"memory", []string{"memory"}}}},
		"the user's /dev": {Overlay: overlay, Resolve: func(p string) (string, error) { return p, nil }},
		"links": {Overlay: overlay, Init: "/usr/bin/umiak", Resolve: func(p string) (string, error) {
			return strings.Replace(p, "/x", "/proc/1/root", 1), nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c.Spec = everything(readSpec(t))
			sources := []string{c.Spec.Root.Path, overlay.Base, c.Init}
			if name == "the user's /dev" {
				c.Spec.Mounts = slices.DeleteFunc(c.Spec.Mounts, func(m specs.Mount) bool { return m.Destination == "/dev" })
				c.Spec.Mounts = append(c.Spec.Mounts, specs.Mount{Destination: "/dev", Type: "bind", Source: "/dev"})
			}
			for i, dest := range hostile {
				c.IsDir = func(p string) bool { return strings.HasSuffix(p, "0") }
				c.Spec.Mounts = append(c.Spec.Mounts, specs.Mount{Destination: dest, Type: "bind", Source: fmt.Sprint("/src", i%2), Options: []string{"rbind"}})
				c.Spec.Linux.MaskedPaths = append(c.Spec.Linux.MaskedPaths, dest)
				c.Spec.Linux.ReadonlyPaths = append(c.Spec.Linux.ReadonlyPaths, dest)
			}
			for _, m := range c.Spec.Mounts {
				sources = append(sources, m.Source)
			}
			onlyDescriptors(t, compile(t, c), sources)
		})
	}
}

// onlyDescriptors looks at every call before pivot_root.
func onlyDescriptors(t *testing.T, l *List, host []string) {
	found := map[Slot]bool{} // slots of what openat2 found in the root
	for _, o := range l.Ops {
		said := l.call(o)
		switch o.Name {
		case "pivot_root":
			return
		case "mount": // the one that keeps the others from the host
			if o.Args[1].Text != "/" || o.Args[3].Num != unix.MS_REC|unix.MS_SLAVE {
				t.Errorf("a mount by path: %s", said)
			}
		case "chdir":
			if !slices.Contains(host, o.Args[0].Text) {
				t.Errorf("a directory by path: %s", said)
			}
		case "openat2":
			how := binary.NativeEndian.Uint64(o.Args[2].Data[16:])
			if o.Args[0].Type != argSlot || how&noLinks != noLinks {
				t.Errorf("a lookup that may leave the root, or follow a link: %s", said)
			}
			found[o.Save] = true
		case "mkdirat", "mknodat", "fchownat":
			if o.Args[0].Type != argSlot || o.Args[0].Num == 0 || strings.Contains(o.Args[1].Text, "/") || slices.Contains([]string{"", ".", ".."}, o.Args[1].Text) {
				t.Errorf("more than one name in a directory that we hold: %s", said)
			}
		case "symlinkat":
			if o.Args[1].Type != argSlot || o.Args[1].Num == 0 || strings.Contains(o.Args[2].Text, "/") {
				t.Errorf("more than one name in a directory that we hold: %s", said)
			}
		case "open_tree":
			byPath := o.Args[0].Type == argNumber && slices.Contains(host, o.Args[1].Text)
			if !byPath && (o.Args[1].Text != "" || o.Args[0].Type == argNumber) {
				t.Errorf("a tree by a path that is not the caller's: %s", said)
			}
		case "move_mount":
			root := o.Args[2].Type == argNumber && slices.Contains(host, o.Args[3].Text)
			if !root && (o.Args[3].Text != "" || o.Args[2].Type != argSlot || !found[Slot(o.Args[2].Num)]) {
				t.Errorf("a mount on what openat2 has not found: %s", said)
			}
		case "openat":
			if o.Args[1].Text != "/dev/null" {
				t.Errorf("a file by path: %s", said)
			}
		case "umask", "fsopen", "fsconfig", "fsmount", "mount_setattr", "unshare", "write", "fchdir":
			// by descriptor, or of no file
		default:
			t.Errorf("a call that this test does not know: %s", said)
		}
	}
	t.Error("no pivot_root")
}

// A result that was never saved must not turn into descriptor 0, which is whatever standard input is.
func TestNoSlot(t *testing.T) {
	k := &compiler{list: List{Slots: []string{""}}}
	k.do("mknodat", unix.SYS_MKNODAT, k.slot(0), text("null"), num(0), num(0))
	if _, err := k.list.assemble(); err == nil {
		t.Error("assembled")
	}
}

// follow resolves as an image with these links would have it.
func follow(links map[string]string) func(string) (string, error) {
	return func(p string) (string, error) {
		for range 10 {
			again := false
			for from, to := range links {
				if p == from || strings.HasPrefix(p, from+"/") {
					p, again = path.Clean(to+strings.TrimPrefix(p, from)), true
				}
			}
			if !again {
				return p, nil
			}
		}
		return "", syscall.ELOOP
	}
}

func TestHostileLinks(t *testing.T) {
	add := func(s *specs.Spec, dest string) {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: dest, Type: "bind", Source: "/src"})
	}
	for name, x := range map[string]struct {
		links  map[string]string
		change func(*specs.Spec)
		want   string // in the list
		err    string
	}{
		"/dev":  {links: map[string]string{"/dev": "/etc"}, err: "the image's /dev is a symbolic link, to its /etc: it must be a directory"},
		"/proc": {links: map[string]string{"/proc": "/nowhere"}, err: "the image's /proc is a symbolic link"},
		"/sys":  {links: map[string]string{"/sys": "/dev"}, err: "the image's /sys is a symbolic link"},
		"/etc in a circle": {
			links: map[string]string{"/etc": "/etc/x"}, change: func(s *specs.Spec) { add(s, "/etc/hosts") },
			err: "/etc/hosts: following the image's links to it: too many levels",
		},
		// What the image has beneath a mount of ours is hidden, and so are its links.
		"beneath a mount": {links: map[string]string{"/dev/pts": "/etc", "/sys/fs": "/etc"}, want: `openat2(root, "dev/pts"`},
		"beneath the user's": {
			links:  map[string]string{"/data": "/srv", "/srv/logs": "/var/log"},
			change: func(s *specs.Spec) { add(s, "/data"); add(s, "/data/logs") }, want: `openat2(root, "srv/logs"`,
		},
		"working directory": {
			links: map[string]string{"/w": "/made/there"}, change: func(s *specs.Spec) { s.Process.Cwd = "/w/x" },
			want: `mkdirat(/made/there, "x"`,
		},
		"a deep working directory":   {change: func(s *specs.Spec) { s.Process.Cwd = strings.Repeat("/a", 2100) }, err: "2100 directories deep: want at most 100"},
		"a deep mount":               {change: func(s *specs.Spec) { add(s, strings.Repeat("/a", 2100)) }, err: "2100 directories deep: want at most 100"},
		"a file that is a deep link": {links: map[string]string{"/etc/hosts": strings.Repeat("/a", 2100)}, change: func(s *specs.Spec) { add(s, "/etc/hosts") }, err: "directories deep"},
		"a deep link":                {links: map[string]string{"/etc": strings.Repeat("/a", 2100)}, change: func(s *specs.Spec) { add(s, "/etc/hosts") }, err: "directories deep"},
	} {
		t.Run(name, func(t *testing.T) {
			s := readSpec(t)
			if x.change != nil {
				x.change(s)
			}
			l, err := Compile(Config{Spec: s, Overlay: overlay, Resolve: follow(x.links)})
			if (err != nil) != (x.err != "") || err != nil && !strings.Contains(err.Error(), x.err) {
				t.Fatalf("error %v, want %q", err, x.err)
			}
			if err == nil && !strings.Contains(l.String(), x.want) {
				t.Errorf("no %s in\n%s", x.want, l)
			}
		})
	}
}

// TestErrorText: what a user reads first is the step and the reason; the call is for whoever asks.
func TestErrorText(t *testing.T) {
	l := compile(t, Config{Spec: everything(readSpec(t)), Overlay: overlay})
	find := func(name, arg string) int {
		i := slices.IndexFunc(l.Ops, func(o Op) bool { return o.Name == name && strings.Contains(l.call(o), arg) })
		if i < 0 {
			t.Fatalf("no %s with %s", name, arg)
		}
		return i
	}
	for _, x := range []struct {
		op    int
		errno syscall.Errno
		want  string
	}{
		{find("mkdirat", `"proc"`), syscall.EROFS, `/proc: a fresh /proc, of our own processes: read-only file system (mkdirat(root, "proc", 0755)`},
		{find("openat2", `"f"`), syscall.ELOOP, `/f: a file or directory of the host's: a symbolic link on the way, which is not followed here (openat2(`},
		{find("move_mount", "/f, "), syscall.EINVAL, `/f: a file or directory of the host's: a file can't be mounted on a directory (move_mount(`},
		{find("fchdir", "workdir"), syscall.EACCES, `enter the working directory /work/dir: permission denied (fchdir(workdir))`},
	} {
		err := error(l.failure(x.op, x.errno))
		if !strings.HasPrefix(err.Error(), x.want) || !errors.Is(err, x.errno) {
			t.Errorf("%v\nwant %s…", err, x.want)
		}
	}
}
