package sample

import (
	"archive/tar"
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func image(t *testing.T) v1.Image {
	t.Helper()
	img, err := Image([]byte("a binary"))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// check reads every byte of an image and compares hashes. (The validate package of ggcr can't: it takes every layer for
// gzip.)
func check(t *testing.T, img v1.Image) {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	for i, layer := range layers {
		digest, err := layer.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if got := hash(t, layer.Compressed); got != digest {
			t.Errorf("layer %d has the digest %s, not %s", i, got, digest)
		}
		if got := hash(t, layer.Uncompressed); got != config.RootFS.DiffIDs[i] {
			t.Errorf("layer %d has the diff id %s, not %s", i, got, config.RootFS.DiffIDs[i])
		}
	}
}

func hash(t *testing.T, open func() (io.ReadCloser, error)) v1.Hash {
	t.Helper()
	r, err := open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	h, _, err := v1.SHA256(r)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestImageIsValidAndAlwaysTheSame(t *testing.T) {
	img := image(t)
	check(t, img)
	first, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := image(t).Digest(); again != first {
		t.Errorf("two images differ: %s and %s", first, again)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 2 {
		t.Fatalf("%d layers, error %v", len(layers), err)
	}
	for i, want := range []types.MediaType{types.OCILayer, types.OCILayerZStd} {
		if got, _ := layers[i].MediaType(); got != want {
			t.Errorf("layer %d is %s, want %s", i, got, want)
		}
	}
}

// TestLayersHoldWhatFlatteningNeeds: the demo's claims rest on these entries, in this order where order matters.
func TestLayersHoldWhatFlatteningNeeds(t *testing.T) {
	layers, err := image(t).Layers()
	if err != nil {
		t.Fatal(err)
	}
	base, changes := headers(t, layers[0]), headers(t, layers[1])
	if h := base["tmp/"]; h == nil || h.Mode != 0o1777 {
		t.Errorf("tmp: %+v", h)
	}
	if h := base["home/demo/"]; h == nil || h.Uid != 1000 || h.Gid != 1000 {
		t.Errorf("home/demo: %+v", h)
	}
	for _, command := range Commands() {
		if h := base["bin/"+command]; h == nil || h.Typeflag != tar.TypeLink || h.Linkname != "bin/box" {
			t.Errorf("bin/%s: %+v", command, h)
		}
	}
	for hidden, mark := range map[string]string{"etc/obsolete": "etc/.wh.obsolete", "srv/data/old": "srv/data/.wh..wh..opq", "etc/motd": "etc/motd"} {
		if base[hidden] == nil || changes[mark] == nil {
			t.Errorf("%s of layer 1 (%v) is to be hidden by %s of layer 2 (%v)", hidden, base[hidden], mark, changes[mark])
		}
	}
	if h := changes["usr/local/setuid"]; h == nil || h.Mode != 0o4755 {
		t.Errorf("usr/local/setuid: %+v", h)
	}
	if h := changes["usr/bin"]; h == nil || h.Linkname != "/bin" {
		t.Errorf("usr/bin: %+v", h)
	}
}

func headers(t *testing.T, layer v1.Layer) map[string]*tar.Header {
	t.Helper()
	r, err := layer.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	all := map[string]*tar.Header{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.Equal(made()) {
			t.Errorf("%s is of %v", h.Name, h.ModTime)
		}
		all[h.Name] = h
	}
}

func TestServe(t *testing.T) {
	img := image(t)
	addr, stop, err := Serve(map[string]v1.Image{"demo": img, "other/name:1.0": img})
	if err != nil {
		t.Fatal(err)
	}
	if host, _, _ := net.SplitHostPort(addr); host != "127.0.0.1" {
		t.Errorf("serves on %s", addr)
	}
	want, _ := img.Digest()
	for _, reference := range []string{"/demo:latest", "/other/name:1.0", "/demo@" + want.String()} {
		ref, err := name.ParseReference(addr + reference)
		if err != nil {
			t.Fatal(err)
		}
		pulled, err := remote.Image(ref)
		if err != nil {
			t.Error(err)
			continue
		}
		check(t, pulled)
		if got, _ := pulled.Digest(); got != want {
			t.Errorf("%s is %s, want %s", ref, got, want)
		}
	}
	stop()
	if c, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
		c.Close()
		t.Error("somebody listens after close")
	}
}

func TestServeRefusesBadNames(t *testing.T) {
	if addr, _, err := Serve(map[string]v1.Image{"Not A Name": image(t)}); err == nil {
		t.Errorf("no error; serves on %s", addr)
	}
}

// TestBinary: what goes into the image starts, is static enough to, knows the names it will be called by, and two
// builds of it are the same bytes.
func TestBinary(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("needs the go command: ", err)
	}
	first, err := Binary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(first, []byte("ld-linux")) {
		t.Error("box is linked dynamically")
	}
	if again, err := Binary(t.Context()); err != nil || !bytes.Equal(first, again) {
		t.Errorf("two builds differ (error %v)", err)
	}
	if limit := 5 << 20; len(first) > limit {
		t.Errorf("box has grown to %d bytes, above %d: what was imported?", len(first), limit)
	}
	out, err := runBytes(t, first)
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(out, "commands: ")
	if got := strings.Fields(list); !slices.Equal(got, Commands()) {
		t.Errorf("box answers to %q, the image has %q", got, Commands())
	}
}

func runBytes(t *testing.T, program []byte) (string, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "box")
	if err := os.WriteFile(file, program, 0o700); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(file).Output()
	return string(out), err
}
