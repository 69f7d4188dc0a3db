package image

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
)

// A Platform is what an image was built for, in Go's terms. Variant is empty
// where it says nothing: amd64 is amd64/v1, arm64 is arm64/v8.
type Platform struct{ OS, Architecture, Variant string }

// HostPlatform is the platform this program was built for. The variant of a
// 32-bit ARM is assumed to be v7, the oldest that current distributions build
// for; --platform says otherwise.
func HostPlatform() Platform {
	return Platform{OS: "linux", Architecture: runtime.GOARCH}.normal()
}

// ParsePlatform reads os/arch[/variant], and arch[/variant] alone for Linux.
// Names that other tools use (x86_64, aarch64, armhf) are understood.
func ParsePlatform(s string) (Platform, error) {
	parts := strings.Split(strings.ToLower(s), "/")
	for _, p := range parts {
		if p == "" || p[0] == '.' || strings.ContainsFunc(p, func(c rune) bool { return !isLowerAlnum(c) && c != '_' && c != '.' && c != '-' }) {
			return Platform{}, fmt.Errorf("invalid platform %q: want os/arch or os/arch/variant, such as linux/arm64", s)
		}
	}
	if isArchitecture(parts[0]) {
		parts = slices.Insert(parts, 0, "linux")
	}
	switch {
	case len(parts) == 2:
		return Platform{OS: parts[0], Architecture: parts[1]}.normal(), nil
	case len(parts) == 3:
		return Platform{OS: parts[0], Architecture: parts[1], Variant: parts[2]}.normal(), nil
	}
	return Platform{}, fmt.Errorf("invalid platform %q: want os/arch or os/arch/variant, such as linux/arm64", s)
}

func (p Platform) String() string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

func isArchitecture(s string) bool {
	switch s {
	case "amd64", "x86_64", "x86-64", "386", "i386", "i686", "arm", "armhf", "armel", "arm64", "aarch64",
		"ppc64le", "s390x", "riscv64", "loong64", "mips64le":
		return true
	}
	return false
}

// normal maps the spellings of one platform to a single one, as containerd does.
func (p Platform) normal() Platform {
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "i386", "i686":
		p.Architecture, p.Variant = "386", ""
	case "aarch64":
		p.Architecture = "arm64"
	case "armhf":
		p.Architecture, p.Variant = "arm", "v7"
	case "armel":
		p.Architecture, p.Variant = "arm", "v6"
	}
	if len(p.Variant) == 1 && p.Variant[0] >= '1' && p.Variant[0] <= '9' {
		p.Variant = "v" + p.Variant
	}
	switch {
	case p.Architecture == "amd64" && p.Variant == "v1", p.Architecture == "arm64" && p.Variant == "v8":
		p.Variant = ""
	case p.Architecture == "arm" && p.Variant == "":
		p.Variant = "v7"
	}
	return p
}

// runnable lists what a machine of platform p runs, best first: newer variants
// run what older ones do, amd64 runs 386 and arm64 runs arm. This is containerd's
// order (platforms.Only), which is what docker chooses by.
func (p Platform) runnable() []Platform {
	p = p.normal()
	list := []Platform{p}
	add := func(arch string, variants ...string) {
		for _, v := range variants {
			if q := (Platform{p.OS, arch, v}); q != p {
				list = append(list, q)
			}
		}
	}
	older := func(all ...string) []string {
		i := slices.Index(all, p.Variant)
		if i < 0 { // a variant of the future: it runs at least what all do
			i = len(all) - 2
		}
		return all[i+1:]
	}
	switch p.Architecture {
	case "amd64":
		add("amd64", older("v4", "v3", "v2", "")...)
		add("386", "")
	case "arm64":
		if p.Variant != "" {
			add("arm64", "")
		}
		add("arm", "v8", "v7", "v6", "v5")
	case "arm":
		add("arm", older("v8", "v7", "v6", "v5")...)
	}
	return list
}

// rank is how well have serves want, 0 best and -1 not at all.
func rank(want, have Platform) int { return slices.Index(want.runnable(), have.normal()) }
