package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/umiak/umiak/image"
)

// statusError says what a registry meant by an answer that is not what was asked
// for.
func (r *repository) statusError(resp *http.Response, kind, id string) error {
	err := transport.CheckError(resp)
	te, ok := errors.AsType[*transport.Error](err)
	if !ok {
		te = &transport.Error{StatusCode: resp.StatusCode}
	}
	switch {
	case resp.StatusCode == http.StatusNotFound && kind == "manifests":
		return fmt.Errorf("image %s %w in registry %s", r.ref.Familiar(), image.ErrNotFound, r.ref.Registry)
	case resp.StatusCode == http.StatusNotFound:
		return fmt.Errorf("image %s: a part of it, %s, %w in registry %s", r.ref.Familiar(), id, image.ErrNotFound, r.ref.Registry)
	case isPage(resp.Header):
		return page(r.host(resp), te.StatusCode)
	case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
		return r.denied(te)
	}
	wait := ""
	if d, ok := retryAfter(resp); ok {
		wait = fmt.Sprintf("; it asks to wait for %s", d)
	}
	return fmt.Errorf("image %s: registry %s answers %s%s", r.ref.Familiar(), r.host(resp), describe(te), wait)
}

// host is who answered, which after a redirect is not the registry.
func (r *repository) host(resp *http.Response) string {
	if resp.Request == nil || resp.Request.URL.Host == "" {
		return r.ref.Registry
	}
	return resp.Request.URL.Host
}

// denied covers what does not exist, too: most registries do not tell strangers
// the difference.
func (r *repository) denied(te *transport.Error) error {
	return fmt.Errorf("image %s: %w by registry %s (%s)", r.ref.Familiar(), image.ErrUnauthorized, r.ref.Registry, describe(te))
}

// describe is a status and what the server said about it, on one line and without
// anything that a terminal would obey.
func describe(te *transport.Error) string {
	s := fmt.Sprintf("%d %s", te.StatusCode, http.StatusText(te.StatusCode))
	for _, d := range te.Errors {
		if text := clean(d.Message); text != "" {
			return s + ": " + text
		}
		if text := clean(string(d.Code)); text != "" {
			return s + ": " + text
		}
	}
	return s
}

func clean(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(c rune) bool { return unicode.IsSpace(c) || !unicode.IsPrint(c) }), " ")
	if r := []rune(s); len(r) > 200 {
		s = string(r[:200]) + "…"
	}
	return s
}

// loginError is about a ping or a token that was not to be had.
func (r *repository) loginError(err error) error {
	if tlsFailed(err) {
		return r.requestError(err) // what plain http got after that is beside the point
	}
	if te, ok := errors.AsType[*transport.Error](err); ok {
		text := strings.ToLower(te.Error()) // has the body if that is no error of a registry's
		switch {
		case strings.Contains(text, "<html") || strings.Contains(text, "<!doctype html"):
			return page(r.ref.Registry, te.StatusCode)
		case te.StatusCode == http.StatusUnauthorized, te.StatusCode == http.StatusForbidden:
			return r.denied(te)
		}
		return fmt.Errorf("image %s: registry %s answers %s", r.ref.Familiar(), r.ref.Registry, describe(te))
	}
	return r.requestError(err)
}

// requestError is about a request that came to nothing.
func (r *repository) requestError(err error) error {
	if errors.Is(err, context.Canceled) {
		return context.Canceled // without the URL it was on its way to
	}
	host := r.ref.Registry
	if ue, ok := errors.AsType[*url.Error](err); ok {
		u, err := url.Parse(ue.URL)
		if err == nil && u.Host != "" && u.Host != name.DefaultRegistry {
			host = u.Host // a redirect's target or a token service
		}
	}
	if host == r.detour.alias && host != "" {
		host = r.detour.to
	}
	cause := reason(err)
	if d, ok := diagnose(host, err, cause); ok {
		return &image.RegistryError{Registry: host, Err: d.err, Hint: d.hint}
	}
	return &image.UnreachableError{Registry: host, Err: cause}
}

// reason digs the cause out of what net/http and two parallel pings wrap around
// it, among others the URL, which after a redirect may have a secret in its query.
func reason(err error) error {
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return e.Err
	}
	for {
		ue, ok := errors.AsType[*url.Error](err)
		if !ok {
			break
		}
		err = ue.Err
	}
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("it closed the connection without an answer (%w)", err)
	}
	return err
}

// transferError is about an answer that broke off.
func (r *repository) transferError(id string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("image %s: transfer of %s from registry %s: %w", r.ref.Familiar(), id, r.ref.Registry, err)
}
