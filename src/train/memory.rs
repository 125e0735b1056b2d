//! How the trainer's memory is handed out.

/// Has glibc keep freed memory for the next step instead of giving every large block back to the kernel, which would clear it
/// anew: a step asks for the same megabytes again and again. The default costs BYOL's steps 1.7 times as long. Call it before
/// the first thread starts; elsewhere than on glibc it does nothing.
pub fn keep() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: mallopt only sets numbers of the allocator; no other thread runs yet.
        let kept = unsafe { [libc::mallopt(libc::M_MMAP_MAX, 0), libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX)] };
        if kept.contains(&0) {
            log::debug!("the allocator keeps its defaults");
        }
    }
}
