package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"
)

// How long to be patient. A registry that is alive answers within the header
// timeout even when it first fetches the blob from elsewhere.
const (
	dialTimeout   = 10 * time.Second
	headerTimeout = 30 * time.Second
	maxRetries    = 4
	firstBackoff  = 200 * time.Millisecond
	maxRetryAfter = 30 * time.Second // asked to wait longer, we say so instead
	maxRedirects  = 10
)

// tooManyRedirects is what net/http says too, where it decides.
const tooManyRedirects = "stopped after 10 redirects"

func defaultTransport() http.RoundTripper {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: headerTimeout,
		IdleConnTimeout:       30 * time.Second,
		MaxIdleConnsPerHost:   8,
		// A hostile server's headers are kept in memory.
		MaxResponseHeaderBytes: 256 << 10,
	}
}

// errRefused marks requests that we did not make.
var errRefused = errors.New("refused")

type registryKey struct{}

// onBehalfOf notes which registry the requests made with ctx are for.
func onBehalfOf(ctx context.Context, registry string) context.Context {
	return context.WithValue(ctx, registryKey{}, registry)
}

// guard is the last before the network, where no redirect, token service or
// fallback gets past it. Plain http leaves no other machine; and a registry
// elsewhere can't send us to this one, to services that it cannot reach itself.
type guard struct {
	inner     http.RoundTripper
	userAgent string
}

func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	local := isLoopback(req.URL.Host)
	if req.URL.Scheme != "https" && !local {
		return nil, fmt.Errorf("%w to speak plain http with %s, which is not on this machine", errRefused, req.URL.Host)
	}
	if registry, _ := req.Context().Value(registryKey{}).(string); local && !isLoopback(registry) {
		return nil, fmt.Errorf("%w to be sent to %s on this machine", errRefused, req.URL.Host)
	}
	if g.userAgent != "" {
		req = req.Clone(req.Context())
		req.Header.Set("User-Agent", g.userAgent)
	}
	return g.inner.RoundTrip(req)
}

// checkRedirect follows registries to where their blobs are. Credentials stay
// behind: the transports add them for the registry's own host only.
func checkRedirect(_ *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return errors.New(tooManyRedirects)
	}
	return nil
}

// retrier repeats requests that failed for a reason that may pass.
type retrier struct{ inner http.RoundTripper }

func (r *retrier) RoundTrip(req *http.Request) (*http.Response, error) {
	for try := 0; ; try++ {
		resp, err := r.inner.RoundTrip(req)
		wait, again := retryable(resp, err, try)
		if !again || try == maxRetries || req.Body != nil && req.GetBody == nil {
			return resp, err
		}
		if resp != nil {
			// Read to its end, the connection can be used again.
			_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
			resp.Body.Close()
		}
		if err := sleep(req.Context(), wait); err != nil {
			return nil, err
		}
		if req.Body != nil {
			next := req.Clone(req.Context())
			if next.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
			req = next
		}
	}
}

// retryable tells whether trying again makes sense, and when.
func retryable(resp *http.Response, err error, try int) (time.Duration, bool) {
	if err != nil {
		return backoff(try), interrupted(err)
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusRequestTimeout, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
	default:
		return 0, false
	}
	wait := backoff(try)
	if asked, ok := retryAfter(resp); ok {
		if asked > maxRetryAfter {
			return 0, false
		}
		wait = max(wait, asked)
	}
	return wait, true
}

// retryAfter reads the header, which has seconds or a date (RFC 9110, 10.2.3).
func retryAfter(resp *http.Response) (time.Duration, bool) {
	h := resp.Header.Get("Retry-After")
	if s, err := strconv.Atoi(h); err == nil && s >= 0 {
		return time.Duration(min(s, 1<<30)) * time.Second, true
	}
	if t, err := http.ParseTime(h); err == nil {
		return time.Until(t), true
	}
	return 0, false
}

// backoff doubles, and varies so that many who failed together don't return
// together.
func backoff(try int) time.Duration {
	d := firstBackoff << try
	return d + rand.N(d/2)
}

func sleep(ctx context.Context, d time.Duration) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// interrupted tells whether a connection broke, as opposed to never having come
// about or to having been refused.
func interrupted(err error) bool {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, errRefused):
		return false
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, errStalled),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNABORTED):
		return true
	}
	return false
}
