package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/umiak/umiak/image"
)

// A diagnosis is what is wrong with somebody who answers, and what may help.
type diagnosis struct {
	err  error
	hint string
}

// diagnose tells what the network is not to blame for. cause is err without what
// net/http wrapped around it.
func diagnose(host string, err, cause error) (diagnosis, bool) {
	text := err.Error()
	_, realm, badRealm := strings.Cut(text, "invalid realm in www-authenticate: ")
	switch {
	case tlsFailed(err):
		return diagnosis{fmt.Errorf("no secure connection: %w", cause), tlsHint(err, cause)}, true
	case errors.Is(cause, errRefused): // plain http may have been tried besides, and refused rightly
		return diagnosis{cause, "what is on this machine, or in the clear, is for registries on this machine only"}, true
	case badRealm:
		return diagnosis{fmt.Errorf("its token service is refused: %s", clean(realm)),
			"a registry elsewhere must not send anybody to private addresses; ask who runs it"}, true
	case strings.Contains(text, "refusing token-server redirect"):
		return diagnosis{errors.New("its token service sends us on to a private address: refused"), "ask who runs it"}, true
	case strings.Contains(text, tooManyRedirects):
		return diagnosis{errors.New("it redirects in a circle: " + tooManyRedirects),
			"a proxy or a login page may be in between, or " + host + " is no registry"}, true
	case errors.Is(cause, http.ErrSchemeMismatch) && !isLoopback(host):
		return diagnosis{errors.New("it speaks plain http"),
			"plain http is for registries on this machine only: put TLS before it, or forward a port of this machine to it"}, true
	case strings.HasPrefix(cause.Error(), "tls: "):
		return diagnosis{fmt.Errorf("no secure connection: %w", cause), ""}, true
	}
	return diagnosis{}, false
}

// tlsFailed tells whether a TLS handshake went wrong, on either side.
func tlsFailed(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	oe, ok := errors.AsType[*net.OpError](err)
	return ok && oe.Op == "remote error" // how crypto/tls names the other side's alert
}

// tlsHint is about the certificates that crypto/x509 tells apart, and about the alerts
// of a server that wants one of ours. Which alert it was only its text says.
func tlsHint(err, cause error) string {
	const clock, own = "check this machine's clock; if it is right, the registry needs a new certificate",
		"if the registry's authority is your own, put its certificate into a file, in PEM format, and name that in SSL_CERT_FILE"
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
		return clock
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "use a name that the certificate is for; or somebody else answers in the registry's place"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return own
	}
	if alert := cause.Error(); strings.Contains(alert, "certificate required") || strings.Contains(alert, "bad certificate") {
		return "the registry asks for a client certificate, which umiak can't show"
	}
	return ""
}

// isPage tells whether an answer is for people.
func isPage(h http.Header) bool { return strings.HasPrefix(h.Get("Content-Type"), "text/html") }

// page is the error for it.
func page(host string, status int) error {
	err := errors.New("it answered with a web page")
	switch status {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		err = fmt.Errorf("%w: it answered %d %s with a web page", image.ErrUnauthorized, status, http.StatusText(status))
	default:
		err = fmt.Errorf("it answered %d %s with a web page", status, http.StatusText(status))
	}
	return &image.RegistryError{Registry: host, Err: err, Hint: "a proxy or a login page may be in between, or " + host + " is no registry"}
}
