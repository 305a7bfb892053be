/* lectern_openssl.h: what lectern.h seals frames with, by OpenSSL 1.1.1 or later (-lcrypto).
 *
 *     o.key = "1:...", o.audience = "...", o.seal = lectern_openssl();
 *
 * Include it once, behind lectern.h. */
#ifndef LECTERN_OPENSSL_H
#define LECTERN_OPENSSL_H

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "lectern.h"

static void lectern_openssl_hmac(void *context, const uint8_t key[32], const void *message, size_t size, uint8_t mac[32]) {
	unsigned length = 32;
	(void)context;
	if (!HMAC(EVP_sha256(), key, 32, (const unsigned char *)message, size, mac, &length)) abort();
}

static void lectern_openssl_gmac(void *context, const uint8_t key[16], const uint8_t nonce[24], const void *data, size_t size, uint8_t tag[16]) {
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int n = 0;
	(void)context;
	/* A frame that cannot be sealed must not go out: this fails for want of memory alone. */
	if (!c || EVP_EncryptInit_ex(c, EVP_aes_128_gcm(), NULL, NULL, NULL) != 1 || EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_IVLEN, 24, NULL) != 1 ||
		EVP_EncryptInit_ex(c, NULL, NULL, key, nonce) != 1 || EVP_EncryptUpdate(c, NULL, &n, (const unsigned char *)data, (int)size) != 1 ||
		EVP_EncryptFinal_ex(c, NULL, &n) != 1 || EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, 16, tag) != 1) abort();
	EVP_CIPHER_CTX_free(c);
}

static inline const lectern_seal *lectern_openssl(void) {
	static const lectern_seal seal = {NULL, lectern_openssl_hmac, lectern_openssl_gmac};
	return &seal;
}

#endif /* LECTERN_OPENSSL_H */
