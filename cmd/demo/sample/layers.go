package sample

import (
	"archive/tar"
	"bytes"
	"io"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// An entry is a tar entry in few words. mode holds the bits of chmod(2), setuid and sticky among them.
type entry struct {
	kind    byte
	name    string
	mode    int64
	content string // of a file; else where a link leads
	owner   int    // uid and gid
}

func dir(name string, mode int64) entry {
	return entry{kind: tar.TypeDir, name: name + "/", mode: mode}
}
func file(name, content string) entry    { return entry{tar.TypeReg, name, 0o644, content, 0} }
func hardlink(name, target string) entry { return entry{tar.TypeLink, name, 0o755, target, 0} }
func symlink(name, target string) entry  { return entry{tar.TypeSymlink, name, 0o777, target, 0} }
func (e entry) chmod(mode int64) entry   { e.mode = mode; return e }
func (e entry) chown(owner int) entry    { e.owner = owner; return e }

// base is the first layer: box, all its names, and what programs expect of a root file system.
func base(box []byte) []entry {
	entries := []entry{
		dir("bin", 0o755), dir("dev", 0o755), dir("etc", 0o755), dir("home", 0o755), dir("proc", 0o755), dir("root", 0o700),
		dir("srv", 0o755), dir("sys", 0o755), dir("tmp", 0o1777), dir("usr", 0o755), dir("var", 0o755),
		dir("home/demo", 0o750).chown(1000),
		file("bin/box", string(box)).chmod(0o755),
	}
	for _, name := range Commands() {
		entries = append(entries, hardlink("bin/"+name, "bin/box"))
	}
	return append(entries,
		file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\ndemo:x:1000:1000:demo:/home/demo:/bin/sh\n"),
		file("etc/group", "root:x:0:\ndemo:x:1000:\n"),
		file("etc/os-release", "ID=umiak-demo\nNAME=\"umiak demo\"\nPRETTY_NAME=\"umiak demo image\"\n"),
		file("etc/motd", "the motd of layer 1\n"),
		file("etc/obsolete", "layer 2 removes this\n"),
		dir("srv/data", 0o755),
		file("srv/data/old", "layer 2 makes the directory opaque, so this goes\n"),
		dir("srv/kept", 0o755),
		file("srv/kept/file", "no layer touches this\n"),
	)
}

// changes is the second layer: one of each thing that a layer can do to those below.
func changes() []entry {
	return []entry{
		file("etc/motd", "the motd of layer 2\n"), // changes
		file("etc/.wh.obsolete", ""),              // removes
		dir("srv/data", 0o755),
		file("srv/data/new", "new in layer 2\n"), // stands before the opaque mark, and stays: the mark is for lower layers
		file("srv/data/.wh..wh..opq", ""),        // empties
		dir("usr/local", 0o755),
		file("usr/local/setuid", "a file with mode 4755\n").chmod(0o4755),
		symlink("usr/bin", "/bin"), // absolute, which is legal: it means the image's /bin
		symlink("home/demo/motd", "../../etc/motd").chown(1000),
	}
}

// pack writes entries as a layer.
func pack(entries []entry, how compression.Compression, mediaType types.MediaType) (v1.Layer, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{Typeflag: e.kind, Name: e.name, Mode: e.mode, Uid: e.owner, Gid: e.owner, ModTime: made(), Format: tar.FormatPAX}
		if e.kind == tar.TypeReg {
			h.Size = int64(len(e.content))
		} else {
			h.Linkname = e.content
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if e.kind == tar.TypeReg {
			if _, err := io.WriteString(w, e.content); err != nil {
				return nil, err
			}
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithCompression(how), tarball.WithMediaType(mediaType), tarball.WithCompressedCaching)
}
