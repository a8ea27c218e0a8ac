package orchestrator

// Confine says what the host keeps from a sub-kernel, whatever the guest does.
type Confine struct {
	// Read are the only files and folders of the host's that can be read; none: all. Those of mounts always can.
	Read []string
	// Hide can't be read, besides what UsuallyHidden names; Show can, in spite of that.
	Hide, Show []string
	// Root lets the kernel run as root if sekexe does.
	Root bool
	// Required makes it an error if the host can't enforce all of that.
	Required bool
}

// UsuallyHidden are the files and folders of the host's that no sub-kernel can read unless it is said. A leading "~/" is the home of the
// user who runs sekexe; if that is root, of every user.
var UsuallyHidden = []string{
	"~/.ssh", "~/.aws", "~/.azure", "~/.gnupg", "~/.docker", "~/.kube", "~/.netrc", "~/.git-credentials", "~/.pgpass", "~/.vault-token",
	"~/.config/gh", "~/.config/gcloud", "~/.config/containers/auth.json", "~/.local/share/keyrings", "~/.password-store",
	"/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/ssh/ssh_host_rsa_key", "/etc/ssh/ssh_host_ecdsa_key",
	"/etc/ssh/ssh_host_ed25519_key", "/run/secrets",
}
