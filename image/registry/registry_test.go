package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/umiak/umiak/cache/digest"
	"github.com/umiak/umiak/image"
)

// start serves go-containerregistry's registry on loopback and returns its host.
func start(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// randomImage is an image for a platform.
func randomImage(t *testing.T, arch string, layers int) v1.Image {
	t.Helper()
	img := must[v1.Image](t)(random.Image(3000, int64(layers)))
	c := must[*v1.ConfigFile](t)(img.ConfigFile())
	c = c.DeepCopy()
	c.OS, c.Architecture = "linux", arch
	return must[v1.Image](t)(mutate.ConfigFile(img, c))
}

// The same image comes out as go puts in, of a plain manifest and of an index.
func TestResolveAndOpen(t *testing.T) {
	host := start(t)
	amd, arm := randomImage(t, "amd64", 3), randomImage(t, "arm64", 1)
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: arm, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}},
		mutate.IndexAddendum{Add: amd, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}})
	if err := remote.WriteIndex(name.MustParseReference("localhost:1/x").Context().Registry.Repo("x").Tag("t"), index); err == nil {
		t.Fatal("something listens on port 1")
	}
	tag := must[name.Tag](t)(name.NewTag(host + "/o/r:multi"))
	if err := remote.WriteIndex(tag, index); err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag.Tag("single"), amd); err != nil {
		t.Fatal(err)
	}
	indexDigest := must[v1.Hash](t)(index.Digest()).String()
	imageDigest := must[v1.Hash](t)(amd.Digest()).String()

	src := New(Options{})
	for _, c := range []struct{ ref, digest string }{
		{"/o/r:multi", indexDigest},
		{"/o/r@" + indexDigest, indexDigest},
		{"/o/r:wrong@" + indexDigest, indexDigest}, // the digest decides
		{"/o/r:single", imageDigest},
		{"/o/r@" + imageDigest, imageDigest},
	} {
		ref := parse(t, host+c.ref)
		img, err := src.Resolve(t.Context(), ref, amd64)
		if err != nil {
			t.Errorf("%s: %v", c.ref, err)
			continue
		}
		if img.Digest.String() != c.digest || img.ManifestDigest.String() != imageDigest || len(img.Layers) != 3 {
			t.Errorf("%s: got %s, manifest %s, %d layers", c.ref, img.Digest, img.ManifestDigest, len(img.Layers))
		}
		for _, l := range img.Layers {
			if b, err := readLayer(t, src, ref, l); err != nil || int64(len(b)) != l.Size {
				t.Errorf("%s: layer %s: %d bytes, %v", c.ref, l.Digest, len(b), err)
			}
		}
	}
	_, err := src.Resolve(t.Context(), parse(t, host+"/o/r:multi"), image.Platform{OS: "linux", Architecture: "s390x"})
	if _, ok := errors.AsType[*image.PlatformError](err); !ok || !strings.HasSuffix(err.Error(), "not available for linux/s390x, only for linux/arm64, linux/amd64") {
		t.Errorf("a platform that is not there: %v", err)
	}
}

// Each of these is one line that names the cause, and can be told from the others.
func TestErrors(t *testing.T) {
	host := start(t)
	src := New(Options{})
	_, err := src.Resolve(t.Context(), parse(t, host+"/no/such:9"), amd64)
	if !errors.Is(err, image.ErrNotFound) || err.Error() != "image "+host+"/no/such:9 not found in registry "+host {
		t.Errorf("unknown image: %v", err)
	}
	if _, err := readLayer(t, src, parse(t, host+"/no/such"), image.Layer{Digest: digest.FromBytes(nil)}); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("unknown layer: %v", err)
	}
	_, err = src.Resolve(t.Context(), parse(t, "127.0.0.1:1/a"), amd64)
	if e, ok := errors.AsType[*image.UnreachableError](err); !ok || e.Registry != "127.0.0.1:1" || err.Error() != "registry 127.0.0.1:1 cannot be reached: connect: connection refused" {
		t.Errorf("nobody there: %v", err)
	}
}

func TestFakeErrors(t *testing.T) {
	for _, c := range []struct {
		about, ref string
		before     func(s *server, w http.ResponseWriter, r *http.Request) bool
		is         error
		says       string
	}{
		{"denied", "r.example/o/r:t", func(_ *server, w http.ResponseWriter, r *http.Request) bool {
			return answer(w, r, "/manifests/", 403, `{"errors":[{"code":"DENIED","message":"not\nfor \u001b[31myou"}]}`)
		}, image.ErrUnauthorized, "access denied by registry r.example (403 Forbidden: not for [31myou)"},
		{"web page", "r.example/o/r:t", func(_ *server, w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(w, "<html>")
			return true
		}, nil, "answered with a web page"},
		{"other bytes than the digest says", "r.example/o/r@" + digest.FromBytes([]byte("x")).String(), func(_ *server, w http.ResponseWriter, r *http.Request) bool {
			return answer(w, r, "/manifests/", 200, "y")
		}, digest.ErrMismatch, "content does not match: want sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"},
		{"other config than the manifest says", "r.example/o/r:t", func(s *server, w http.ResponseWriter, r *http.Request) bool {
			return answer(w, r, digest.FromBytes(s.config).String(), 200, strings.Repeat("x", len(s.config)))
		}, digest.ErrMismatch, "its config: content does not match"},
		{"endless manifest", "r.example/o/r:t", func(_ *server, w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/manifests/") {
				sendBody(w, limited(readerFunc(func(p []byte) (int, error) { return len(p), nil })))
				return true
			}
			return false
		}, nil, "larger than"},
		{"not a registry", "r.example/o/r:t", func(_ *server, w http.ResponseWriter, r *http.Request) bool {
			return answer(w, r, "/v2/", 404, "nothing here")
		}, nil, "registry r.example answers 404 Not Found"},
		{"endless redirects", "r.example/o/r:t", func(_ *server, w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/manifests/") {
				http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
				return true
			}
			return false
		}, nil, "stopped after 10 redirects"},
		{"a redirect to nowhere", "r.example/o/r:t", func(_ *server, w http.ResponseWriter, r *http.Request) bool {
			return redirect(w, r, "https://gone.example/x?secret=1")
		}, nil, "gone.example cannot be reached: no such host in this world"},
	} {
		s := newServer()
		s.before = func(w http.ResponseWriter, r *http.Request) bool { return c.before(s, w, r) }
		src := New(Options{Transport: &world{hosts: map[string]http.Handler{"https://r.example": s}}})
		_, err := src.Resolve(t.Context(), parse(t, c.ref), amd64)
		if err == nil || !strings.Contains(err.Error(), c.says) || c.is != nil && !errors.Is(err, c.is) || strings.ContainsAny(err.Error(), "\n\x1b") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v; want %q", c.about, err, c.says)
		}
	}
}

func answer(w http.ResponseWriter, r *http.Request, path string, status int, body string) bool {
	if !strings.Contains(r.URL.Path, path) {
		return false
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
	return true
}

func redirect(w http.ResponseWriter, r *http.Request, to string) bool {
	if !strings.Contains(r.URL.Path, "/manifests/") && !strings.Contains(r.URL.Path, "/blobs/") {
		return false
	}
	http.Redirect(w, r, to, http.StatusTemporaryRedirect)
	return true
}

// The user agent is ours, and one login serves any number of requests.
func TestOneLogin(t *testing.T) {
	s := newServer()
	w := &world{hosts: map[string]http.Handler{"https://r.example": s}}
	src := New(Options{Transport: w, UserAgent: "umiak/1"})
	ref := parse(t, "r.example/o/r:t")
	for range 3 {
		if _, err := src.Resolve(t.Context(), ref, amd64); err != nil {
			t.Fatal(err)
		}
		if b, err := readLayer(t, src, ref, s.imageLayer()); err != nil || !bytes.Equal(b, s.layer) {
			t.Fatal(err)
		}
	}
	pings := 0
	for _, r := range w.log {
		if r.URL.Path == "/v2/" {
			pings++
		}
		if ua := r.Header.Get("User-Agent"); ua != "umiak/1" {
			t.Errorf("User-Agent is %q", ua)
		}
	}
	if pings != 1 {
		t.Errorf("%d pings", pings)
	}
}

// A registry that was down when first asked is asked again.
func TestLoginIsRetriedByTheNextCall(t *testing.T) {
	var up atomic.Bool
	s := newServer()
	s.before = func(w http.ResponseWriter, _ *http.Request) bool {
		if !up.Load() {
			w.WriteHeader(http.StatusNotFound)
		}
		return !up.Load()
	}
	src := New(Options{Transport: &world{hosts: map[string]http.Handler{"https://r.example": s}}})
	ref := parse(t, "r.example/o/r:t")
	if _, err := src.Resolve(t.Context(), ref, amd64); err == nil {
		t.Fatal("resolved with a registry that is down")
	}
	up.Store(true)
	if _, err := src.Resolve(t.Context(), ref, amd64); err != nil {
		t.Error(err)
	}
}

func TestCancel(t *testing.T) {
	s := newServer()
	ctx, cancel := context.WithCancel(t.Context())
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") {
			cancel()
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		}
		return false
	}
	src := New(Options{Transport: &world{hosts: map[string]http.Handler{"https://r.example": s}}})
	if _, err := src.Resolve(ctx, parse(t, "r.example/o/r:t"), amd64); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// On loopback plain http is tried after https. What it says must not hide what was
// wrong with the certificate.
func TestBadCertificate(t *testing.T) {
	s := httptest.NewUnstartedServer(newServer())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	_, err := New(Options{}).Resolve(t.Context(), parse(t, s.Listener.Addr().String()+"/o/r:t"), amd64)
	if e, ok := errors.AsType[*image.RegistryError](err); !ok || !strings.Contains(err.Error(), "certificate") || !strings.Contains(e.Hint, "SSL_CERT_FILE") {
		t.Errorf("a certificate that nobody signed: %v", err)
	}
}
