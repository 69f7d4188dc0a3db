package seccomp

import "testing"

// dockerCaps are docker's default capabilities.
var dockerCaps = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
	"CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

func BenchmarkDefault(b *testing.B) {
	for b.Loop() {
		Default(dockerCaps, "amd64")
	}
}

func BenchmarkCompile(b *testing.B) {
	for _, arch := range []string{"amd64", "arm64"} {
		b.Run(arch, func(b *testing.B) {
			s := Default(dockerCaps, arch)
			var n int
			for b.Loop() {
				p, err := compile(s, arch)
				if err != nil {
					b.Fatal(err)
				}
				n = p.Len()
			}
			b.ReportMetric(float64(n), "insns")
		})
	}
}

// BenchmarkPrepared is what nearly every run pays.
func BenchmarkPrepared(b *testing.B) {
	for b.Loop() {
		if _, err := Compile(Default(dockerCaps, "amd64"), "amd64"); err != nil {
			b.Fatal(err)
		}
	}
}
