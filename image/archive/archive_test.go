package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/umiak/umiak/cache/digest"
	"github.com/umiak/umiak/image"
	"github.com/umiak/umiak/image/registry"
)

var amd64 = image.Platform{OS: "linux", Architecture: "amd64"}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func randomImage(t testing.TB, arch string, layers int) v1.Image {
	t.Helper()
	img := must[v1.Image](t)(random.Image(3000, int64(layers)))
	c := must[*v1.ConfigFile](t)(img.ConfigFile()).DeepCopy()
	c.OS, c.Architecture = "linux", arch
	return must[v1.Image](t)(mutate.ConfigFile(img, c))
}

func twoPlatforms(amd, arm v1.Image) v1.ImageIndex {
	return mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: arm, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}},
		mutate.IndexAddendum{Add: amd, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}})
}

func named(s string) layout.Option {
	return layout.WithAnnotations(map[string]string{refName: s})
}

func platform(arch string) layout.Option {
	return layout.WithPlatform(v1.Platform{OS: "linux", Architecture: arch})
}

// newLayout makes an empty layout.
func newLayout(t testing.TB) layout.Path {
	t.Helper()
	return must[layout.Path](t)(layout.Write(filepath.Join(t.TempDir(), "layout"), empty.Index))
}

func openLayout(t testing.TB, path string) *Source {
	t.Helper()
	s := must[*Source](t)(Open(path))
	t.Cleanup(func() { s.Close() })
	return s
}

// pack makes a tar of a directory, as docker save and podman save do.
func pack(t testing.TB, dir string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	check(t, w.AddFS(os.DirFS(dir)))
	check(t, w.Close())
	file := filepath.Join(t.TempDir(), "layout.tar")
	check(t, os.WriteFile(file, b.Bytes(), 0o600))
	return file
}

// TestSources holds the sources to one contract: the same images come out of a
// registry, a directory and a tar.
func TestSources(t *testing.T) {
	amd, arm := randomImage(t, "amd64", 3), randomImage(t, "arm64", 1)
	index := twoPlatforms(amd, arm)
	dir := newLayout(t)
	check(t, dir.AppendIndex(index, named("multi")))
	check(t, dir.AppendImage(amd, named("single")))
	server := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	repo := must[name.Repository](t)(name.NewRepository(host + "/o/r"))
	check(t, remote.WriteIndex(repo.Tag("multi"), index))
	check(t, remote.Write(repo.Tag("single"), amd))

	for about, src := range map[string]image.Source{
		"registry": registry.New(registry.Options{}), "directory": openLayout(t, string(dir)), "tar": openLayout(t, pack(t, string(dir))),
	} {
		t.Run(about, func(t *testing.T) {
			contract(t, src, host+"/o/r", must[v1.Hash](t)(index.Digest()).String(), must[v1.Hash](t)(amd.Digest()).String())
		})
	}
}

func contract(t *testing.T, src image.Source, repo, index, single string) {
	for _, c := range []struct{ ref, digest string }{
		{":multi", index}, {"@" + index, index}, {":wrong@" + index, index}, {":single", single}, {"@" + single, single},
	} {
		ref := must[image.Reference](t)(image.Parse(repo + c.ref))
		img, err := src.Resolve(t.Context(), ref, amd64)
		if err != nil {
			t.Errorf("%s: %v", c.ref, err)
			continue
		}
		if img.Digest.String() != c.digest || img.ManifestDigest.String() != single || len(img.Layers) != 3 || img.Reference != ref || img.Platform != amd64 {
			t.Errorf("%s: got %s, manifest %s, %d layers, %s, %s", c.ref, img.Digest, img.ManifestDigest, len(img.Layers), img.Reference, img.Platform)
		}
		for _, l := range img.Layers {
			if b := readLayer(t, src, ref, l); digest.FromBytes(b) != l.Digest || int64(len(b)) != l.Size {
				t.Errorf("%s: layer %s: %d bytes of something else", c.ref, l.Digest, len(b))
			}
		}
	}
	ref := must[image.Reference](t)(image.Parse(repo + ":multi"))
	_, err := src.Resolve(t.Context(), ref, image.Platform{OS: "linux", Architecture: "s390x"})
	if _, ok := errors.AsType[*image.PlatformError](err); !ok || !strings.HasSuffix(err.Error(), "not available for linux/s390x, only for linux/arm64, linux/amd64") {
		t.Errorf("a platform that is not there: %v", err)
	}
	none := digest.FromBytes([]byte("nothing"))
	if _, err := src.Open(t.Context(), ref, image.Layer{Digest: none}); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("a layer that is not there: %v", err)
	}
	for _, bad := range []string{":none", "@" + none.String()} {
		if _, err := src.Resolve(t.Context(), must[image.Reference](t)(image.Parse(repo+bad)), amd64); !errors.Is(err, image.ErrNotFound) {
			t.Errorf("an image that is not there: %v", err)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("changed my mind"))
	img := must[*image.Image](t)(src.Resolve(t.Context(), ref, amd64))
	rc, err := src.Open(ctx, ref, img.Layers[0])
	if err == nil {
		defer rc.Close()
		_, err = io.ReadAll(rc)
	}
	if err == nil || !strings.Contains(err.Error(), "changed my mind") {
		t.Errorf("a layer nobody wants any more: %v", err)
	}
}

func readLayer(t *testing.T, src image.Source, ref image.Reference, l image.Layer) []byte {
	t.Helper()
	rc := must[io.ReadCloser](t)(src.Open(t.Context(), ref, l))
	defer rc.Close()
	return must[[]byte](t)(io.ReadAll(rc))
}

// How images of a layout are called, and that none is guessed.
func TestNames(t *testing.T) {
	one, other, arm := randomImage(t, "amd64", 1), randomImage(t, "amd64", 1), randomImage(t, "arm64", 1)
	id := func(i v1.Image) string { return must[v1.Hash](t)(i.Digest()).String() }
	containerd := func(full, tag string) layout.Option {
		return layout.WithAnnotations(map[string]string{fullName: full, refName: tag})
	}
	type add struct {
		img  v1.Image
		opts []layout.Option
	}
	for _, c := range []struct {
		about string
		list  []add
		name  string
		want  string // digest, or words of the error
	}{
		{"the only one", []add{{one, nil}}, "", id(one)},
		{"the only one, by its name", []add{{one, []layout.Option{named("a/b:c@d+e")}}}, "a/b:c@d+e", id(one)},
		{"by digest", []add{{one, nil}, {other, nil}}, id(other), id(other)},
		{"one of two", []add{{one, []layout.Option{named("x")}}, {other, []layout.Option{named("y")}}}, "y", id(other)},
		{"neither of two", []add{{one, []layout.Option{named("x")}}, {other, []layout.Option{named("y")}}}, "z", `not found: the layout has "x", "y"`},
		{"no name but two images", []add{{one, []layout.Option{named("x")}}, {other, []layout.Option{named("y")}}}, "", `more than one image may be meant: "x", "y"`},
		{"two without names", []add{{one, nil}, {other, nil}}, "", "more than one image may be meant: " + id(one) + ", " + id(other)},
		{"one name twice", []add{{one, []layout.Option{named("x")}}, {other, []layout.Option{named("x")}}}, "x", "more than one image may be meant"},
		{"a platform each", []add{{arm, []layout.Option{named("x"), platform("arm64")}}, {one, []layout.Option{named("x"), platform("amd64")}}}, "x", id(one)},
		{"a platform each, without names", []add{{arm, []layout.Option{platform("arm64")}}, {one, []layout.Option{platform("amd64")}}}, "", id(one)},
		{"only for another platform", []add{{arm, []layout.Option{platform("arm64")}}}, "", "only for linux/arm64"},
		{"as docker save has it", []add{{one, []layout.Option{containerd("docker.io/library/one:latest", "latest"), platform("amd64")}},
			{other, []layout.Option{containerd("docker.io/library/other:latest", "latest"), platform("amd64")}}}, "other:latest", id(other)},
		{"latest of two", []add{{one, []layout.Option{containerd("docker.io/library/one:latest", "latest"), platform("amd64")}},
			{other, []layout.Option{containerd("docker.io/library/other:latest", "latest"), platform("amd64")}}}, "latest", "more than one image may be meant"},
		{"none", nil, "", "the layout is empty"},
	} {
		l := newLayout(t)
		for _, a := range c.list {
			check(t, l.AppendImage(a.img, a.opts...))
		}
		s := openLayout(t, string(l))
		ref := s.Reference(c.name)
		img, err := s.Resolve(t.Context(), ref, amd64)
		switch {
		case err == nil && img.Digest.String() != c.want:
			t.Errorf("%s: got %s", c.about, img.Digest)
		case err != nil && (strings.HasPrefix(c.want, "sha256:") || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), ref.String())):
			t.Errorf("%s: %v; want %s and the name %s", c.about, err, c.want, ref)
		}
	}
}

func TestReference(t *testing.T) {
	d := "sha256:" + strings.Repeat("0", 64)
	for _, c := range []struct{ path, name, want string }{
		{"dir", "", "oci:./dir"}, {"a/dir", "t", "oci:a/dir:t"}, {"/dir", d, "oci:/dir@" + d}, {"/a/dir", "x/y:z", "oci:/a/dir:x/y:z"},
	} {
		if got := (&Source{path: c.path}).Reference(c.name); got.String() != c.want || got.Familiar() != c.want {
			t.Errorf("%s, %q: %s, %s", c.path, c.name, got, got.Familiar())
		}
	}
}

func blobOf(l layout.Path, d string) string {
	return filepath.Join(string(l), "blobs", strings.Replace(d, ":", "/", 1))
}

// Layouts that are not what they should be.
func TestBadLayouts(t *testing.T) {
	img := randomImage(t, "amd64", 1)
	id := must[v1.Hash](t)(img.Digest()).String()
	config := must[v1.Hash](t)(img.ConfigName()).String()
	secret := filepath.Join(t.TempDir(), "secret")
	check(t, os.WriteFile(secret, []byte(`{"schemaVersion":2}`), 0o600))
	replace := func(l layout.Path, name, content string) {
		check(t, os.WriteFile(filepath.Join(string(l), name), []byte(content), 0o600))
	}
	for _, c := range []struct {
		about string
		spoil func(l layout.Path)
		says  string
	}{
		{"no oci-layout", func(l layout.Path) { os.Remove(filepath.Join(string(l), versionFile)) }, "not an OCI image layout: it has no file oci-layout"},
		{"docker save of old", func(l layout.Path) {
			check(t, os.Rename(filepath.Join(string(l), versionFile), filepath.Join(string(l), dockerFile)))
		}, "older format, which is not supported yet"},
		{"another version", func(l layout.Path) { replace(l, versionFile, `{"imageLayoutVersion":"2.0.0"}`) }, `version is "2.0.0"`},
		{"no index", func(l layout.Path) { os.Remove(filepath.Join(string(l), indexFile)) }, "it has no index.json"},
		{"no JSON", func(l layout.Path) { replace(l, indexFile, "<") }, "reading index.json"},
		{"schema 1", func(l layout.Path) { replace(l, indexFile, `{"schemaVersion":1}`) }, "schema version is 1"},
		{"large", func(l layout.Path) { replace(l, indexFile, strings.Repeat(" ", image.MaxDocument+1)) }, "larger than"},
		{"digest that climbs", func(l layout.Path) {
			replace(l, indexFile, `{"schemaVersion":2,"manifests":[{"digest":"sha256:../../../../secret"}]}`)
		}, "entry 1: parsing digest"},
		{"no digest", func(l layout.Path) { replace(l, indexFile, `{"schemaVersion":2,"manifests":[{}]}`) }, "entry 1: it has no digest"},
		{"fifo", func(l layout.Path) {
			check(t, os.Remove(filepath.Join(string(l), indexFile)))
			check(t, syscall.Mkfifo(filepath.Join(string(l), indexFile), 0o600))
		}, "not a regular file"},
		{"manifest is missing", func(l layout.Path) { os.Remove(blobOf(l, id)) }, "not found in layout"},
		{"config is missing", func(l layout.Path) { os.Remove(blobOf(l, config)) }, "blob " + config + " not found in layout"},
		{"manifest is another", func(l layout.Path) { check(t, os.WriteFile(blobOf(l, id), []byte("{}"), 0o600)) }, "does not match"},
		{"config is another", func(l layout.Path) { check(t, os.WriteFile(blobOf(l, config), []byte("{}"), 0o600)) }, "does not match"},
		{"manifest is a directory", func(l layout.Path) { os.Remove(blobOf(l, id)); os.Mkdir(blobOf(l, id), 0o700) }, "not a regular file"},
		{"manifest is a device", func(l layout.Path) {
			os.Remove(blobOf(l, id))
			if err := syscall.Mknod(blobOf(l, id), syscall.S_IFCHR, 1<<8|5); err != nil { // zero(4): endless
				t.Logf("needs root: %v", err)
				os.Mkdir(blobOf(l, id), 0o700)
			}
		}, "not a regular file"},
		{"blob leads out", func(l layout.Path) { os.Remove(blobOf(l, id)); os.Symlink(secret, blobOf(l, id)) }, "escapes"},
		{"blobs lead out", func(l layout.Path) {
			check(t, os.Rename(filepath.Join(string(l), "blobs"), secret+"s"))
			check(t, os.Symlink(secret+"s", filepath.Join(string(l), "blobs")))
		}, "escapes"},
		{"index leads out", func(l layout.Path) {
			os.Remove(filepath.Join(string(l), indexFile))
			os.Symlink("../../../"+secret, filepath.Join(string(l), indexFile))
		}, "escapes"},
	} {
		l := newLayout(t)
		check(t, l.AppendImage(img, named("x")))
		c.spoil(l)
		s, err := Open(string(l))
		if err == nil {
			_, err = s.Resolve(t.Context(), s.Reference("x"), amd64)
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), filepath.Base(string(l))) {
			t.Errorf("%s: %v; want %q", c.about, err, c.says)
		}
		os.RemoveAll(secret + "s")
	}
}

func TestLinkInside(t *testing.T) {
	img, l := randomImage(t, "amd64", 1), newLayout(t)
	check(t, l.AppendImage(img))
	blob := blobOf(l, must[v1.Hash](t)(img.Digest()).String())
	check(t, os.Rename(blob, string(l)+"/elsewhere"))
	check(t, os.Symlink("../../elsewhere", blob))
	s := openLayout(t, string(l))
	if _, err := s.Resolve(t.Context(), s.Reference(""), amd64); err != nil {
		t.Error(err)
	}
}

func TestBadTars(t *testing.T) {
	l := newLayout(t)
	check(t, l.AppendImage(randomImage(t, "amd64", 1)))
	whole := must[[]byte](t)(os.ReadFile(pack(t, string(l))))
	for _, c := range []struct{ about, content, says string }{
		{"gzip", "\x1f\x8b\x08\x00", "compressed as a whole"},
		{"zstd", "\x28\xb5\x2f\xfd", "compressed as a whole"},
		{"text", strings.Repeat("hello\n", 200), "nor a tar of one"},
		{"empty", "", "it has no file oci-layout"},
		{"cut", string(whole[:len(whole)/2]), ErrNotALayout.Error()},
	} {
		file := filepath.Join(t.TempDir(), "f")
		check(t, os.WriteFile(file, []byte(c.content), 0o600))
		if _, err := Open(file); err == nil || !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), "opening layout "+file+": ") {
			t.Errorf("%s: %v", c.about, err)
		}
	}
	if _, err := Open("/dev/null"); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Error(err)
	}
	if _, err := Open(""); err == nil {
		t.Error("no path at all is taken for one")
	}
	if _, err := Open("no/such"); err == nil || err.Error() != "opening layout no/such: no such file or directory" {
		t.Error(err)
	}
}

// What other tools write.
func TestSkopeo(t *testing.T) {
	if _, err := exec.LookPath("skopeo"); err != nil {
		t.Skip("needs skopeo: Debian's package of that name")
	}
	server := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	from := strings.TrimPrefix(server.URL, "http://") + "/x:v1"
	check(t, remote.Write(must[name.Tag](t)(name.NewTag(from)), randomImage(t, "amd64", 2)))
	for _, to := range []string{"oci:" + t.TempDir() + "/a:v1", "oci-archive:" + t.TempDir() + "/a.tar:v1"} {
		out, err := exec.Command("skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", "docker://"+from, to).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		path := strings.TrimSuffix(to[strings.Index(to, ":")+1:], ":v1")
		s := openLayout(t, path)
		ref := s.Reference("v1")
		img, err := s.Resolve(t.Context(), ref, amd64)
		if err != nil || len(img.Layers) != 2 {
			t.Fatalf("%s: %v", to, err)
		}
		for _, l := range img.Layers {
			if digest.FromBytes(readLayer(t, s, ref, l)) != l.Digest {
				t.Errorf("%s: layer %s is another", to, l.Digest)
			}
		}
	}
}

func FuzzIndex(f *testing.F) {
	d := `"digest":"sha256:` + strings.Repeat("0", 64) + `"`
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{`+d+`,"annotations":{"`+refName+`":"latest"}}]}`), "latest")
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{`+d+`,"platform":{"os":"linux","architecture":"amd64"}},{`+d+`}]}`), "")
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{`+d+`,"annotations":{"`+fullName+`":"docker.io/library/a:b"}}]}`), "a:b")
	f.Fuzz(func(t *testing.T, index []byte, name string) {
		entries, err := parseIndex(index)
		if err != nil {
			return
		}
		s := &Source{path: "/x/y", entries: entries}
		ref := s.Reference(name)
		found, err := s.find(ref)
		if err != nil {
			return
		}
		for _, e := range found {
			if p, err := blobPath(e.Digest); err != nil || filepath.Clean(p) != p || !filepath.IsLocal(p) {
				t.Fatalf("%q: %v", p, err)
			}
			if ref.Digest == "" && name != "" && !e.named(name) && !e.is(normal(name)) {
				t.Fatalf("%q is not called %q", e.raw, name)
			}
		}
		b, err := join(found)
		if err != nil || !json.Valid(b) {
			t.Fatalf("joining: %v: %s", err, b)
		}
	})
}
