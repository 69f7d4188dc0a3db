// Package registry is an image.Source that speaks to registries over HTTP.
//
// It promises that a document it returns is the one asked for, that credentials
// go to the registry they belong to and its token service only, that plain http
// is spoken with this machine alone, and that it gives up in finite time whatever
// the other side does. Layers are passed on unverified, but whole as far as the
// size tells: an interrupted transfer is taken up where it stopped.
//
// Requests are made here and not by go-containerregistry's remote package, which
// takes nothing up again and trusts Content-Length; how to log in is left to its
// transport package.
package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/umiak/umiak/cache/digest"
	"github.com/umiak/umiak/image"
)

// Options say how to reach registries. The zero value is anonymous.
type Options struct {
	Keychain  authn.Keychain
	Warn      func(string) // told what went wrong without being fatal; may be nil
	UserAgent string
	Transport http.RoundTripper // nil for one with sensible timeouts
}

// A Registry is every registry: a reference says which one.
type Registry struct {
	base http.RoundTripper
	keys authn.Keychain
	warn func(string)

	mu    sync.Mutex
	repos map[string]*repository
}

// New returns a Source. It opens no connection yet.
func New(o Options) *Registry {
	r := &Registry{keys: o.Keychain, warn: o.Warn, repos: make(map[string]*repository)}
	if r.keys == nil {
		r.keys = authn.NewMultiKeychain()
	}
	if r.warn == nil {
		r.warn = func(string) {}
	}
	t := o.Transport
	if t == nil {
		t = defaultTransport()
	}
	r.base = &retrier{inner: &guard{inner: t, userAgent: o.UserAgent}}
	return r
}

// Resolve implements image.Source.
func (r *Registry) Resolve(ctx context.Context, ref image.Reference, p image.Platform) (*image.Image, error) {
	repo, err := r.connect(ctx, ref)
	if err != nil {
		return nil, err
	}
	doc, mediaType, err := repo.top(ctx, ref)
	if err != nil {
		return nil, err
	}
	return image.Select(ctx, ref, doc, mediaType, p, repo)
}

// Open implements image.Source.
func (r *Registry) Open(ctx context.Context, ref image.Reference, l image.Layer) (io.ReadCloser, error) {
	repo, err := r.connect(ctx, ref)
	if err != nil {
		return nil, err
	}
	return repo.open(ctx, l.Digest.String(), l.Size)
}

// A repository is one we have logged in to.
type repository struct {
	ref    image.Reference
	client *http.Client
	url    string // https://host/v2/name
	detour detour // to its token service

	ready chan struct{} // closed when login has ended
	err   error
}

// connect logs in to the repository of ref, once however many ask. A failure is
// not kept.
func (r *Registry) connect(ctx context.Context, ref image.Reference) (*repository, error) {
	key := ref.Registry + "/" + ref.Repository
	for {
		r.mu.Lock()
		repo, found := r.repos[key]
		if !found {
			repo = &repository{ref: ref, ready: make(chan struct{})}
			r.repos[key] = repo
		}
		r.mu.Unlock()
		if !found {
			repo.err = r.login(ctx, repo)
			if repo.err != nil {
				r.mu.Lock()
				delete(r.repos, key)
				r.mu.Unlock()
			}
			close(repo.ready)
			return repo, repo.err
		}
		select {
		case <-repo.ready:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		// Who logged in may have been cancelled, which is not our failure.
		if !errors.Is(repo.err, context.Canceled) {
			return repo, repo.err
		}
	}
}

// top gets the document that ref names. What a tag names can only be held against
// what the registry says of it, and not all of them say that right: what comes twice
// was not damaged on its way.
func (r *repository) top(ctx context.Context, ref image.Reference) (doc []byte, mediaType string, err error) {
	id := ref.Tag
	if ref.Digest != "" {
		id = ref.Digest.String()
	}
	doc, h, err := r.manifest(ctx, id)
	if err == nil && suspicious(doc, ref, h) {
		first := doc
		doc, h, err = r.manifest(ctx, id)
		if err == nil && suspicious(doc, ref, h) && !bytes.Equal(doc, first) {
			err = fmt.Errorf("reading the manifest of %s: %w: it comes differently each time", ref.Familiar(), digest.ErrMismatch)
		}
	}
	return doc, h.Get("Content-Type"), err
}

func suspicious(doc []byte, ref image.Reference, h http.Header) bool {
	want := ref.Digest
	if want == "" {
		want, _ = digest.Parse(h.Get("Docker-Content-Digest"))
	}
	if want == "" {
		return !json.Valid(doc)
	}
	d := image.Descriptor{Digest: want, Size: -1}
	return d.Verify(doc) != nil
}

// Manifest and Blob implement image.Fetcher, which need not verify. But what isn't
// what it should be is asked for once more: it may have been damaged on its way.
func (r *repository) Manifest(ctx context.Context, d image.Descriptor) ([]byte, error) {
	return twice(d, func() ([]byte, error) {
		b, _, err := r.manifest(ctx, d.Digest.String())
		return b, err
	})
}

func (r *repository) Blob(ctx context.Context, d image.Descriptor) ([]byte, error) {
	return twice(d, func() ([]byte, error) {
		rc, err := r.open(ctx, d.Digest.String(), d.Size)
		if err != nil {
			return nil, err
		}
		defer rc.Close()
		return io.ReadAll(io.LimitReader(rc, image.MaxDocument+1))
	})
}

func twice(d image.Descriptor, get func() ([]byte, error)) ([]byte, error) {
	b, err := get()
	if err == nil && d.Verify(b) != nil {
		return get()
	}
	return b, err
}

// manifest gets a manifest or index, whose size nobody knows before. What was cut
// off is asked for again.
func (r *repository) manifest(ctx context.Context, id string) (b []byte, h http.Header, err error) {
	for try := 0; ; try++ {
		b, h, err = r.manifestOnce(ctx, id)
		// No answer at all has been retried further down.
		_, unreachable := errors.AsType[*image.UnreachableError](err)
		if err == nil || unreachable || !interrupted(err) || try == maxRetries {
			return b, h, err
		}
		if err := sleep(ctx, backoff(try)); err != nil {
			return nil, nil, err
		}
	}
}

func (r *repository) manifestOnce(ctx context.Context, id string) ([]byte, http.Header, error) {
	ctx, w := watch(ctx)
	defer w.stop()
	resp, err := r.get(ctx, "manifests", id, 0)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	// One byte more than may be tells too much from enough.
	b, err := io.ReadAll(io.LimitReader(w.reader(resp.Body), image.MaxDocument+1))
	if err != nil {
		return nil, nil, r.transferError(id, err)
	}
	return b, resp.Header, nil
}

// get asks for a manifest or blob from offset on.
func (r *repository) get(ctx context.Context, kind, id string, offset int64) (*http.Response, error) {
	ctx = onBehalfOf(ctx, r.ref.Registry)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+"/"+kind+"/"+id, nil)
	if err != nil {
		return nil, err
	}
	if kind == "manifests" {
		req.Header.Set("Accept", strings.Join(image.ManifestTypes(), ", "))
	} else {
		// The bytes as stored: Go would otherwise ask for compression and undo it.
		req.Header.Set("Accept-Encoding", "identity")
	}
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, r.loginError(err) // a new token may have been due
	}
	if resp.StatusCode == http.StatusOK && isPage(resp.Header) {
		resp.Body.Close()
		return nil, page(r.host(resp), resp.StatusCode)
	}
	if resp.StatusCode == http.StatusOK || offset > 0 && resp.StatusCode == http.StatusPartialContent {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, r.statusError(resp, kind, id)
}
