package unpack

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/umiak/umiak/unpack/rootfs"
)

// memSink is a tree in memory that refuses whatever a sink is promised not to be asked: it needs no root, and shows each slip of
// the engine as an error where a file system might have let it pass.
type memSink struct {
	files  map[string]*memFile
	sealed bool // SetAttrs has come: nothing may be written any more
}

type memFile struct {
	record
	names int
}

func newMemSink() *memSink {
	return &memSink{files: map[string]*memFile{".": {record: record{Type: "d"}}}}
}

var errSink = errors.New("[the engine broke its promise]")

func (m *memSink) create(name string, f *memFile) error {
	switch parent := m.files[path.Dir(name)]; {
	case name == "" || path.Clean(name) != name || name == "." || name == ".." || strings.HasPrefix(name, "/") || strings.HasPrefix(name, "../"):
		return fmt.Errorf("%w: name %q is not clean", errSink, name)
	case m.sealed:
		return fmt.Errorf("%w: %q after the attributes of directories", errSink, name)
	case parent == nil || parent.Type != "d":
		return fmt.Errorf("%w: the parent of %q is no directory", errSink, name)
	case m.files[name] != nil:
		return fmt.Errorf("%w: %q is there already", errSink, name)
	case len(path.Base(name)) > 255:
		return unix.ENAMETOOLONG
	}
	f.names++
	m.files[name] = f
	return nil
}

func (f *memFile) set(typ string, a rootfs.Attrs) *memFile {
	mtime := a.ModTime.UnixNano()
	f.Type, f.Mode, f.UID, f.GID, f.MTime = typ, fmt.Sprintf("%04o", a.Mode), a.UID, a.GID, &mtime
	f.Xattrs = nil
	for _, x := range a.Xattrs {
		if f.Xattrs == nil {
			f.Xattrs = map[string]string{}
		}
		f.Xattrs[x.Name] = hex.EncodeToString(x.Value)
	}
	return f
}

func (m *memSink) Mkdir(name string) error {
	return m.create(name, &memFile{record: record{Type: "d"}})
}

func (m *memSink) WriteFile(name string, c *contents, a rootfs.Attrs) error {
	data, err := io.ReadAll(io.LimitReader(c, 1<<20))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	f := &memFile{record: record{Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}}
	return m.create(name, f.set("f", a))
}

func (m *memSink) Symlink(target, name string, a rootfs.Attrs) error {
	if target == "" {
		return unix.ENOENT
	}
	a.Mode = 0o777
	return m.create(name, (&memFile{record: record{Target: target}}).set("l", a))
}

func (m *memSink) Link(old, name string) error {
	f := m.files[old]
	if f == nil || f.Type == "d" {
		return fmt.Errorf("%w: link to %q", errSink, old)
	}
	return m.create(name, f)
}

func (m *memSink) Mknod(name string, n rootfs.Node, a rootfs.Attrs) error {
	f := &memFile{}
	if n.Type != fs.ModeNamedPipe {
		f.Rdev = fmt.Sprintf("%d:%d", n.Major, n.Minor)
	}
	typ := map[fs.FileMode]string{fs.ModeNamedPipe: "p", fs.ModeDevice | fs.ModeCharDevice: "c", fs.ModeDevice: "b"}[n.Type]
	return m.create(name, f.set(typ, a))
}

func (m *memSink) Flush() error { return nil }

func (m *memSink) Remove(name string) error {
	if f := m.files[name]; f == nil || f.Type == "d" {
		return fmt.Errorf("%w: removing %q", errSink, name)
	}
	m.files[name].names--
	delete(m.files, name)
	return nil
}

func (m *memSink) RemoveAll(name string) error {
	if f := m.files[name]; f == nil || f.Type != "d" || name == "." {
		return fmt.Errorf("%w: removing %q", errSink, name)
	}
	for other, f := range m.files {
		if other == name || strings.HasPrefix(other, name+"/") {
			f.names--
			delete(m.files, other)
		}
	}
	return nil
}

func (m *memSink) SetAttrs(name string, a rootfs.Attrs) error {
	f := m.files[name]
	if f == nil || f.Type != "d" || f.MTime != nil {
		return fmt.Errorf("%w: attributes of %q", errSink, name)
	}
	for other, g := range m.files {
		if g.Type == "d" && g.MTime == nil && strings.HasPrefix(other, name+"/") {
			return fmt.Errorf("%w: attributes of %q before those of %q", errSink, name, other)
		}
	}
	m.sealed = true
	f.set("d", a)
	return nil
}

func (m *memSink) dump() map[string]record {
	out, names := map[string]record{}, map[*memFile][]string{}
	for name, f := range m.files {
		f.Path = name
		out[name] = f.record
		if f.Type != "d" {
			names[f] = append(names[f], name)
		}
	}
	group(out, names)
	return out
}

// plain makes layers of tar bytes.
func plain(layers ...[]byte) []Layer {
	var out []Layer
	for i, b := range layers {
		out = append(out, Layer{Name: fmt.Sprint(i), Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }})
	}
	return out
}

// discardSink keeps names but no contents.
type discardSink struct{ *memSink }

func (d discardSink) WriteFile(name string, c *contents, a rootfs.Attrs) error {
	if _, err := io.Copy(io.Discard, c); err != nil {
		return err
	}
	return d.create(name, (&memFile{}).set("f", a))
}
