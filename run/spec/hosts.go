package spec

import (
	"net/netip"
	"slices"
	"strings"
)

// ParseAddHost reads --add-host NAME:IP, or NAME=IP, and gives the line for
// /etc/hosts. An IPv6 address may stand in brackets.
func ParseAddHost(s string) (string, error) {
	name, ip, ok := strings.Cut(s, "=")
	if !ok {
		name, ip, ok = strings.Cut(s, ":")
	}
	if ip == "host-gateway" {
		return "", invalidf("host %q: host-gateway is not supported; the network is the host's, so 127.0.0.1 is the host", s)
	}
	if strings.HasPrefix(ip, "[") && strings.HasSuffix(ip, "]") {
		ip = ip[1 : len(ip)-1]
	}
	if !ok || !isIP(ip) || !isHost(name) {
		return "", invalidf("host %q: want NAME:IP, as in db:10.0.0.7", s)
	}
	return ip + "\t" + name, nil
}

// isIP is for addresses without a zone: anything can stand in one, the end of
// the line too.
func isIP(s string) bool {
	addr, err := netip.ParseAddr(s)
	return err == nil && addr.Zone() == ""
}

// isHost holds for a name that can stand in /etc/hosts or resolv.conf, be it
// good DNS or not.
func isHost(s string) bool {
	return s != "" && len(s) <= 255 && s[0] != '-' &&
		all(s, func(c byte) bool { return isAlnum(c) || c == '_' || c == '.' || c == '-' })
}

// DNS is what --dns, --dns-search and --dns-option say; of each kind that is
// empty the host's are taken.
type DNS struct {
	Servers []string // IP addresses
	Search  []string // domains; "." alone for none
	Options []string // as resolv.conf(5) has them
}

func (d DNS) check() error {
	for _, s := range d.Servers {
		if !isIP(s) {
			return invalidf("DNS server %q: want an IP address", s)
		}
	}
	for _, s := range d.Search {
		if !isHost(s) {
			return invalidf("DNS search domain %q: want a domain, as in example.org, or . for none", s)
		}
	}
	for _, s := range d.Options {
		if s == "" || !all(s, func(c byte) bool { return isAlnum(c) || strings.IndexByte("_-:.", c) >= 0 }) {
			return invalidf("DNS option %q: want one of resolv.conf(5), as in ndots:2", s)
		}
	}
	return nil
}

// ResolvConf is the run's /etc/resolv.conf, made of the host's; the options are
// ones that [New] has accepted.
func (o Options) ResolvConf(host []byte) []byte {
	replaced := func(line string) bool {
		words := strings.Fields(line)
		if len(words) == 0 {
			return false
		}
		switch words[0] {
		case "nameserver":
			return len(o.DNS.Servers) > 0
		case "search", "domain":
			return len(o.DNS.Search) > 0
		case "options":
			return len(o.DNS.Options) > 0
		}
		return false
	}
	var b strings.Builder
	for line := range strings.Lines(string(host)) {
		if !replaced(line) {
			b.WriteString(strings.TrimSuffix(line, "\n") + "\n")
		}
	}
	if search := o.DNS.Search; len(search) > 0 && !slices.Equal(search, []string{"."}) {
		b.WriteString("search " + strings.Join(search, " ") + "\n")
	}
	for _, s := range o.DNS.Servers {
		b.WriteString("nameserver " + s + "\n")
	}
	if len(o.DNS.Options) > 0 {
		b.WriteString("options " + strings.Join(o.DNS.Options, " ") + "\n")
	}
	return []byte(b.String())
}

const localHosts = `127.0.0.1	localhost
::1	localhost ip6-localhost ip6-loopback
fe00::	ip6-localnet
ff00::	ip6-mcastprefix
ff02::1	ip6-allnodes
ff02::2	ip6-allrouters
`

// HostsFile is the run's /etc/hosts. With the host's network it is made of the
// host's. The lines of --add-host are first, since a resolver takes the first
// one that fits.
func (o Options) HostsFile(host []byte) []byte {
	var b strings.Builder
	for _, line := range o.AddHosts {
		b.WriteString(line + "\n")
	}
	shared := o.Network == "" || o.Network == modeHost
	base := strings.TrimRight(string(host), "\n")
	if !shared || base == "" {
		base = strings.TrimSuffix(localHosts, "\n")
	}
	b.WriteString(base + "\n")
	if o.Namespaces.UTS != modeHost {
		name := hostnameInside(o)
		if o.Domainname != "" {
			name = name + "." + o.Domainname + " " + name
		}
		b.WriteString("127.0.0.1\t" + name + "\n")
	}
	return []byte(b.String())
}
