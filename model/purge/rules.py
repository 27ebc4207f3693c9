"""One rule for each foreign key that leads to a repository or a namespace."""

from __future__ import annotations

from collections.abc import Mapping

# `purge`: the row is deleted.  `null`: its column is set to null.  `collected`: the collector's statements
# have deleted it before.  Any other text is the reason why the purge ignores the row.
PURGE, NULL, COLLECTED = "purge", "null", "collected"

_MARKER = "goes in the statement that deletes the row itself"

# target: {referring column: rule}
RULES: Mapping[str, Mapping[str, str]] = {
    "repository": {
        "accesstoken.repository_id": PURGE,
        "apprtag.repository_id": PURGE,
        "blobupload.repository_id": COLLECTED,
        "deletedrepository.repository_id": _MARKER,
        "manifest.repository_id": COLLECTED,
        "manifestblob.repository_id": COLLECTED,
        "manifestchild.repository_id": COLLECTED,
        "manifestlabel.repository_id": COLLECTED,
        "manifestpullstatistics.repository_id": PURGE,
        "manifestsecuritystatus.repository_id": COLLECTED,
        # A mirrored repository that is deleted is no longer mirrored: Quay deletes the row, too.
        "orgmirrorrepository.repository_id": PURGE,
        "quotarepositorysize.repository_id": PURGE,
        "repomirrorconfig.repository_id": PURGE,
        "repomirrorrule.repository_id": PURGE,
        "repositoryactioncount.repository_id": PURGE,
        "repositoryauthorizedemail.repository_id": PURGE,
        "repositoryautoprunepolicy.repository_id": PURGE,
        "repositorybuild.repository_id": PURGE,
        "repositorybuildtrigger.repository_id": PURGE,
        "repositoryimmutabilitypolicy.repository_id": PURGE,
        "repositorynotification.repository_id": PURGE,
        "repositorypermission.repository_id": PURGE,
        "repositorysearchscore.repository_id": PURGE,
        "star.repository_id": PURGE,
        "tag.repository_id": COLLECTED,
        "tagpullstatistics.repository_id": PURGE,
        "uploadedblob.repository_id": COLLECTED,
    },
    "manifest": {
        "manifestblob.manifest_id": COLLECTED,
        "manifestchild.child_manifest_id": COLLECTED,
        "manifestchild.manifest_id": COLLECTED,
        "manifestlabel.manifest_id": COLLECTED,
        "manifestsecuritystatus.manifest_id": COLLECTED,
        "tag.manifest_id": COLLECTED,
    },
    "tag": {"tag.linked_tag_id": COLLECTED, "tagnotificationsuccess.tag_id": COLLECTED},
    "apprtag": {"apprtag.linked_tag_id": NULL},
    "accesstoken": {
        "repositorybuild.access_token_id": PURGE,
        "repositorybuildtrigger.write_token_id": NULL,
    },
    # A build stays in the history of its repository when its trigger is deleted.
    "repositorybuildtrigger": {"repositorybuild.trigger_id": NULL},
    "repomirrorrule": {
        "repomirrorconfig.root_rule_id": PURGE,
        "repomirrorrule.left_child_id": NULL,
        "repomirrorrule.right_child_id": NULL,
    },
    "repositorynotification": {"tagnotificationsuccess.notification_id": PURGE},
    "user": {
        "appspecificauthtoken.user_id": PURGE,
        "autoprunetaskstatus.namespace_id": PURGE,
        "deletednamespace.namespace_id": _MARKER,
        "emailconfirmation.user_id": PURGE,
        "federatedlogin.user_id": PURGE,
        "namespaceautoprunepolicy.namespace_id": PURGE,
        "namespacegeorestriction.namespace_id": PURGE,
        "namespaceimmutabilitypolicy.namespace_id": PURGE,
        "namespacenotification.namespace_id": PURGE,
        "notification.target_id": PURGE,
        "oauthaccesstoken.authorized_user_id": PURGE,
        "oauthapplication.organization_id": PURGE,
        "oauthassignedtoken.assigned_user_id": PURGE,
        "organizationcontactemail.organization_id": PURGE,
        "organizationrhskus.org_id": PURGE,
        "organizationrhskus.user_id": PURGE,
        "orgmirrorconfig.internal_robot_id": PURGE,
        "orgmirrorconfig.organization_id": PURGE,
        # Not set to null: a prototype without its delegate or its activating user would give more rights.
        "permissionprototype.activating_user_id": PURGE,
        "permissionprototype.delegate_user_id": PURGE,
        "permissionprototype.org_id": PURGE,
        "proxycacheconfig.organization_id": PURGE,
        "quotanamespacesize.namespace_user_id": PURGE,
        "quotanotificationstate.namespace_id": PURGE,
        "redhatsubscriptions.user_id": PURGE,
        "repomirrorconfig.internal_robot_id": PURGE,
        "repository.namespace_user_id": "each repository is purged by its own purge first",
        "repositoryautoprunepolicy.namespace_id": PURGE,
        "repositorybuild.pull_robot_id": NULL,
        "repositorybuildtrigger.connected_user_id": PURGE,
        "repositorybuildtrigger.pull_robot_id": NULL,
        "repositoryimmutabilitypolicy.namespace_id": PURGE,
        "repositorypermission.user_id": PURGE,
        "robotaccountmetadata.robot_account_id": PURGE,
        "robotaccounttoken.robot_account_id": PURGE,
        "star.user_id": PURGE,
        "team.organization_id": PURGE,
        "teammember.user_id": PURGE,
        "teammemberinvite.inviter_id": PURGE,
        "teammemberinvite.user_id": PURGE,
        "userorganizationquota.namespace_id": PURGE,
        "userprompt.user_id": PURGE,
        "userregion.user_id": PURGE,
    },
    "oauthapplication": {
        "oauthaccesstoken.application_id": PURGE,
        "oauthassignedtoken.application_id": PURGE,
        "oauthauthorizationcode.application_id": PURGE,
    },
    "orgmirrorconfig": {"orgmirrorrepository.org_mirror_config_id": PURGE},
    "team": {
        "permissionprototype.delegate_team_id": PURGE,
        "repositorypermission.team_id": PURGE,
        "teammember.team_id": PURGE,
        "teammemberinvite.team_id": PURGE,
        "teamsync.team_id": PURGE,
    },
    "userorganizationquota": {"quotalimits.quota_id": PURGE},
}
