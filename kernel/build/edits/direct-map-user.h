/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Has processes map parts of the host's files. With ptrace, a descriptor is sent over a socket that all of them have (unix(7), SCM_RIGHTS), just before the
 * process is continued that receives it; a process of the guest's own program has no way to use the socket.
 */
static int file_socks[2] = { -1, -1 }; /* one to receive from, and one to send to */

void open_file_socks(void);
void inherit_file_socks(void);
int map_file(struct mm_id *mm_idp, unsigned long virt, unsigned long len, int prot, int fd, unsigned long long offset);

/* Without the sockets, nothing is mapped so. */
void open_file_socks(void)
{
	if (!using_seccomp && file_socks[0] < 0 &&
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, file_socks))
		file_socks[0] = -1;
}

/* Called in a new process, before it executes the stub. */
void inherit_file_socks(void)
{
	if (file_socks[0] >= 0)
		fcntl(file_socks[0], F_SETFD, 0);
}

static int send_file(int fd)
{
	char byte = 0;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	union {
		char data[CMSG_SPACE(sizeof(fd))];
		struct cmsghdr align;
	} ctrl = {};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = ctrl.data,
		.msg_controllen = sizeof(ctrl.data),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	int n;

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	CATCH_EINTR(n = sendmsg(file_socks[1], &msg, MSG_DONTWAIT | MSG_NOSIGNAL));
	return n == 1;
}

/*
 * Called with ptrace, and with a process that is about to be continued, in which no program of the guest has run since it was told what to do. Each of its
 * entries for a file gets the socket in the place of the file, or -1.
 */
static void send_files(struct stub_data *proc_data)
{
	char byte;
	int i, sent = 0;

	for (i = 0; i < proc_data->syscall_data_len; i++) {
		struct stub_syscall *sc = &proc_data->syscall_data[i];

		if (sc->syscall != STUB_SYSCALL_FILE)
			continue;
		/* What a process that died has not received is not for this one. */
		while (!sent && recv(file_socks[0], &byte, 1, MSG_DONTWAIT) == 1)
			;
		sent = 1;
		sc->mem.fd = send_file(sc->mem.fd) ? file_socks[0] : -1;
	}
}

/* Returns a negative error number if it can't be told so; whether the host maps it is not known. */
int map_file(struct mm_id *mm_idp, unsigned long virt, unsigned long len, int prot, int fd, unsigned long long offset)
{
	struct stub_syscall *sc;

	if (mm_idp->syscall_data_len < 0 || fd < 0 || (!using_seccomp && file_socks[0] < 0))
		return -EIO;
	if (using_seccomp)
		fd = get_stub_fd(mm_idp, fd);

	sc = syscall_stub_alloc(mm_idp);
	sc->syscall = STUB_SYSCALL_FILE;
	sc->mem.addr = virt;
	sc->mem.length = len;
	sc->mem.prot = prot;
	sc->mem.fd = fd;
	sc->mem.offset = MMAP_OFFSET(offset);
	return 0;
}
